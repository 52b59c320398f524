#include "comm/exchange/row_payload.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "base/small_floats.h"
#include "tests/base/slow_e4m3.h"

namespace weft::comm {
namespace {

using testing_e4m3::e4m3_value;
using testing_e4m3::nearest_e4m3;

/// A tile the slow way: try every scale from below.
template <class Real>
std::vector<Real> rounded_tile(const std::vector<Real>& tile) {
  double largest = 0;
  for (const Real value : tile)
    if (std::isfinite(value)) largest = std::max(largest, std::fabs(static_cast<double>(value)));
  int k = -127;
  while (k < 127 && largest > 448.0 * std::pow(2.0, k)) ++k;
  std::vector<Real> out;
  for (const Real value : tile) {
    if (!std::isfinite(value)) {
      out.push_back(std::numeric_limits<Real>::quiet_NaN());
      continue;
    }
    const double wide =
        e4m3_value(nearest_e4m3(static_cast<double>(value) / std::pow(2.0, k))) * std::pow(2.0, k);
    const double most = static_cast<double>(std::numeric_limits<Real>::max());
    out.push_back(static_cast<Real>(std::fmax(-most, std::fmin(most, wide))));
  }
  return out;
}

template <class Real>
void expect_rows_like_the_slow_way(std::size_t hidden, const std::vector<Real>& rows) {
  const std::size_t num_rows = rows.size() / hidden;
  std::vector<std::byte> wire(num_rows * payload_row_bytes(Payload::fp8, hidden, sizeof(Real)));
  std::vector<Real> back(rows.size());
  encode_rows(Payload::fp8, hidden, num_rows, rows.data(), wire.data());
  decode_rows(Payload::fp8, hidden, num_rows, wire.data(), back.data());
  for (std::size_t r = 0; r < num_rows; ++r)
    for (std::size_t at = 0; at < hidden; at += 128) {
      const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(r * hidden + at);
      const auto count = static_cast<std::ptrdiff_t>(std::min<std::size_t>(128, hidden - at));
      const auto expected = rounded_tile(std::vector<Real>(begin, begin + count));
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const Real got = back[r * hidden + at + i];
        if (std::isnan(expected[i]))
          EXPECT_TRUE(std::isnan(got));
        else
          EXPECT_EQ(got, expected[i]) << "hidden " << hidden << ", row " << r << ", " << at + i;
      }
    }
}

template <class Real>
std::vector<Real> many_values(std::size_t count, Rng& rng, int exponent_range) {
  std::vector<Real> values(count);
  const int shift =
      static_cast<int>(rng.below(static_cast<std::uint32_t>(exponent_range))) - exponent_range / 2;
  for (Real& value : values)
    value =
        static_cast<Real>(rng.normal() * std::pow(2.0, shift - static_cast<int>(rng.below(12))));
  return values;
}

TEST(Fp8Rows, AreTilesOf128WithTheSmallestPowerOfTwoScale) {
  Rng rng(4, "tiles");
  for (const std::size_t hidden : {1, 2, 127, 128, 129, 200, 256, 300})
    for (int i = 0; i < 3; ++i) {
      expect_rows_like_the_slow_way(hidden, many_values<float>(2 * hidden, rng, 200));
      expect_rows_like_the_slow_way(hidden, many_values<double>(2 * hidden, rng, 600));
    }
}

TEST(Fp8Rows, KeepTheExtremes) {
  constexpr float kMax = std::numeric_limits<float>::max();
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  expect_rows_like_the_slow_way<float>(4, {0, -0.0f, 0, 0, kMax, -kMax, 1, 0});
  expect_rows_like_the_slow_way<float>(4, {kTiny, -kTiny, 3 * kTiny, 1e-38f, 448, 449, 896, 1});
  expect_rows_like_the_slow_way<float>(
      4, {std::numeric_limits<float>::infinity(), 1, std::nanf(""), 448.0f, 2e38f, 1, 2, 3});
  expect_rows_like_the_slow_way<double>(2, {1e300, 1, 1e-300, 1e-310});
}

TEST(Fp8Rows, AnyBytesAreARow) {
  Rng rng(5, "bytes");
  std::vector<std::byte> wire(payload_row_bytes(Payload::fp8, 130, 4));
  EXPECT_EQ(wire.size(), 132u);
  std::vector<float> out(130);
  for (int round = 0; round < 300; ++round) {
    for (std::byte& byte : wire) byte = static_cast<std::byte>(rng.below(256));
    decode_rows(Payload::fp8, 130, 1, wire.data(), out.data());
    for (const float value : out) EXPECT_FALSE(std::isinf(value));
  }
}

TEST(Payload, SaysHowManyBytesARowTakes) {
  EXPECT_EQ(payload_row_bytes(Payload::full, 7168, 4), 28672u);
  EXPECT_EQ(payload_row_bytes(Payload::bf16, 7168, 4), 14336u);
  EXPECT_EQ(payload_row_bytes(Payload::fp8, 7168, 4), 7168u + 56);
}

}  // namespace
}  // namespace weft::comm

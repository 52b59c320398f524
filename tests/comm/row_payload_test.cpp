#include "comm/exchange/row_payload.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "comm/exchange/small_floats.h"

namespace weft::comm {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The value of a code as the format's definition says it, with nothing clever.
double e4m3_value(int code) {
  const int exponent = (code >> 3) & 15, mantissa = code & 7;
  if (exponent == 15 && mantissa == 7) return std::nan("");
  const double magnitude = exponent == 0 ? mantissa / 8.0 * std::pow(2.0, -6)
                                         : (1 + mantissa / 8.0) * std::pow(2.0, exponent - 7);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

/// The nearest finite code, found by trying all; of two equally near the even one.
int nearest_e4m3(double value) {
  int best = -1;
  double distance = kInfinity;
  for (int code = 0; code < 0x7f; ++code) {
    const double d = std::fabs(std::fabs(value) - e4m3_value(code));
    if (d < distance || (d == distance && code % 2 == 0)) {
      best = code;
      distance = d;
    }
  }
  return best | (std::signbit(value) ? 0x80 : 0);
}

TEST(E4m3, All256CodesHaveTheValueOfTheDefinition) {
  for (int code = 0; code < 256; ++code) {
    const double value = from_e4m3(static_cast<std::uint8_t>(code));
    if (std::isnan(e4m3_value(code))) {
      EXPECT_TRUE(std::isnan(value)) << code;
      continue;
    }
    EXPECT_EQ(value, e4m3_value(code)) << code;
    EXPECT_EQ(std::signbit(value), code >= 128) << code;
    EXPECT_EQ(to_e4m3(value), code);  // there and back
  }
}

TEST(E4m3, RoundsToTheNearestCodeAndTiesToEven) {
  for (int code = 0; code < 0x7e; ++code) {
    const double low = e4m3_value(code), high = e4m3_value(code + 1), tie = (low + high) / 2;
    for (const double sign : {1.0, -1.0})
      for (const double value : {tie, std::nextafter(tie, 0.0), std::nextafter(tie, kInfinity)})
        EXPECT_EQ(to_e4m3(sign * value), nearest_e4m3(sign * value)) << code << " " << value;
  }
  Rng rng(3, "e4m3");
  for (int i = 0; i < 20000; ++i) {
    const double value = rng.normal() * std::pow(2.0, static_cast<int>(rng.below(26)) - 15);
    EXPECT_EQ(to_e4m3(value), nearest_e4m3(value)) << value;
  }
}

TEST(E4m3, SaturatesFiniteValuesAndKeepsWhatIsNotFiniteVisible) {
  EXPECT_EQ(from_e4m3(to_e4m3(448.1)), 448.0f);
  EXPECT_EQ(from_e4m3(to_e4m3(464.0)), 448.0f);
  EXPECT_EQ(from_e4m3(to_e4m3(-1e300)), -448.0f);
  EXPECT_TRUE(std::isnan(from_e4m3(to_e4m3(kInfinity))));
  EXPECT_TRUE(std::isnan(from_e4m3(to_e4m3(-kInfinity))));
  EXPECT_TRUE(std::isnan(from_e4m3(to_e4m3(std::nan("")))));
  EXPECT_EQ(to_e4m3(-0.0), 0x80);
  EXPECT_EQ(to_e4m3(std::ldexp(1.0, -10)), 0);  // a tie between 0 and the smallest: even
  EXPECT_EQ(to_e4m3(std::nextafter(std::ldexp(1.0, -10), 1.0)), 1);
  EXPECT_EQ(to_e4m3(std::numeric_limits<double>::denorm_min()), 0);
}

TEST(Bf16, IsTheUpperHalfOfAFloatRoundedToNearestEven) {
  for (std::uint32_t code = 0; code < 0x10000; ++code) {
    const float value = from_bf16(static_cast<std::uint16_t>(code));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(from_bf16(to_bf16(value))));
      continue;
    }
    ASSERT_EQ(to_bf16(value), code);
    const double next = from_bf16(static_cast<std::uint16_t>(code + 1));
    if (!std::isfinite(next) || (code & 0x7fff) == 0x7fff || code == 0x7fff) continue;
    const double tie = (value + next) / 2;
    ASSERT_EQ(to_bf16(tie), code % 2 == 0 ? code : code + 1) << code;
    ASSERT_EQ(to_bf16(std::nextafter(tie, value)), code);
    ASSERT_EQ(to_bf16(std::nextafter(tie, next)), code + 1);
  }
  EXPECT_EQ(from_bf16(to_bf16(1e300)), std::numeric_limits<float>::infinity());
}

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

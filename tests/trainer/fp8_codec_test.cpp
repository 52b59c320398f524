#include "trainer/kernels/fp8_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "base/small_floats.h"

namespace weft::trainer::kernels {
namespace {

float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }

/// Floats at which rounding decides: each code's value, the middles between neighbours, and the
/// floats beside all these; both signs.
template <class Format>
std::vector<float> edges() {
  std::vector<float> result = {0.0f,
                               std::numeric_limits<float>::denorm_min(),
                               std::numeric_limits<float>::min(),
                               std::numeric_limits<float>::max(),
                               std::numeric_limits<float>::infinity(),
                               std::numeric_limits<float>::quiet_NaN()};
  for (std::uint32_t code = 0; code + 1 < Format::kNan; ++code) {
    const float at = Format::decode(code), next = Format::decode(code + 1);
    for (const float x : {at, 0.5f * (at + next)}) {
      result.push_back(x);
      result.push_back(std::nextafter(x, 0.0f));
      result.push_back(std::nextafter(x, 1e30f));
    }
  }
  for (std::size_t i = 0, n = result.size(); i < n; ++i) result.push_back(-result[i]);
  return result;
}

TEST(Fp8Codec, EncodesEveryBf16NumberAsTheSlowOneDoes) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = from_bf16(static_cast<std::uint16_t>(bits));
    ASSERT_EQ(E4m3::encode(value), to_e4m3(static_cast<double>(value))) << value;
  }
}

TEST(Fp8Codec, EncodesFloatsAsTheSlowOneDoes) {
  for (const float value : edges<E4m3>()) {
    ASSERT_EQ(E4m3::encode(value), to_e4m3(static_cast<double>(value))) << value;
  }
  Rng rng(1, "floats");
  for (int i = 0; i < 300000; ++i) {
    // Any bits, and bits around the format's range, where most of the others would miss it.
    const auto any = rng.next_u32();
    const float near = float_of((any & 0x807fffffu) | (112 + (any >> 23) % 26) << 23);
    for (const float value : {float_of(any), near}) {
      ASSERT_EQ(E4m3::encode(value), to_e4m3(static_cast<double>(value))) << value;
    }
  }
}

TEST(Fp8Codec, DecodesEveryCodeAsTheSlowOneDoesAndToABf16Number) {
  for (std::uint32_t code = 0; code < 256; ++code) {
    const float want = from_e4m3(static_cast<std::uint8_t>(code));
    const float got = E4m3::decode(code);
    ASSERT_TRUE(got == want || (std::isnan(got) && std::isnan(want))) << code;
    EXPECT_EQ(std::signbit(got), code >= 128) << code;
    EXPECT_EQ(E4m3::decode_bits(code) & 0xffffu, 0u) << code;
  }
}

/// The value of an E5M6 code by its definition.
double e5m6_value(std::uint32_t code) {
  const int exponent = static_cast<int>(code >> 6 & 31), mantissa = static_cast<int>(code & 63);
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -20) : std::ldexp(64 + mantissa, exponent - 15 - 6);
  return code & 0x800 ? -magnitude : magnitude;
}

TEST(E5m6Codec, DecodesByItsDefinition) {
  for (std::uint32_t code = 0; code < 4096; ++code) {
    if ((code & 0x7ff) == 0x7ff) {
      EXPECT_TRUE(std::isnan(E5m6::decode(code)));
    } else {
      EXPECT_EQ(static_cast<double>(E5m6::decode(code)), e5m6_value(code)) << code;
      EXPECT_EQ(E5m6::encode(E5m6::decode(code)), code);
    }
  }
}

/// Nearest by looking at both neighbours, ties to the even code.
std::uint32_t slow_e5m6(float value) {
  if (!std::isfinite(value)) return 0x7ffu | (std::signbit(value) ? 0x800u : 0u);
  const double magnitude = std::fabs(static_cast<double>(value));
  std::uint32_t low = 0, high = 0x7fe;
  while (low < high) {  // the largest code that is not above
    const std::uint32_t middle = (low + high + 1) / 2;
    (e5m6_value(middle) <= magnitude ? low : high) =
        e5m6_value(middle) <= magnitude ? middle : middle - 1;
  }
  if (low < 0x7fe) {
    const double below = magnitude - e5m6_value(low), above = e5m6_value(low + 1) - magnitude;
    if (above < below || (above == below && low % 2 == 1)) ++low;
  }
  return low | (std::signbit(value) ? 0x800u : 0u);
}

TEST(E5m6Codec, EncodesToTheNearest) {
  for (const float value : edges<E5m6>()) {
    ASSERT_EQ(E5m6::encode(value), slow_e5m6(value)) << value;
  }
  Rng rng(2, "floats");
  for (int i = 0; i < 100000; ++i) {
    const auto any = rng.next_u32();
    const float near = float_of((any & 0x807fffffu) | (104 + (any >> 23) % 45) << 23);
    ASSERT_EQ(E5m6::encode(near), slow_e5m6(near)) << near;
    ASSERT_EQ(E5m6::encode(float_of(any)), slow_e5m6(float_of(any))) << float_of(any);
  }
}

}  // namespace
}  // namespace weft::trainer::kernels

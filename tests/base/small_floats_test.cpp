#include "base/small_floats.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "base/rng.h"
#include "tests/base/slow_e4m3.h"

namespace weft {
namespace {

using testing_e4m3::e4m3_value;
using testing_e4m3::nearest_e4m3;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

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

TEST(Bf16, TheArrayTypeConvertsAsTheFunctionsDo) {
  Rng rng(5, "bf16");
  for (int i = 0; i < 50000; ++i) {
    const auto value = std::bit_cast<float>(rng.next_u32());
    const Bf16 number(value);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(static_cast<float>(number)));
      continue;
    }
    ASSERT_EQ(number.bits, to_bf16(value)) << value;
    ASSERT_EQ(static_cast<float>(number), from_bf16(number.bits));
  }
  EXPECT_TRUE(std::isnan(static_cast<float>(Bf16(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace weft

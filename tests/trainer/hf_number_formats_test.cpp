#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "base/small_floats.h"
#include "trainer/hf/number_formats.h"
#include "trainer/kernels/fp8_tiles.h"

namespace weft::trainer::hf {
namespace {

using checkpoint::Dtype;

TEST(NumberFormats, PlainOnesComeBackAsTheNearestNumber) {
  Rng rng(3, "formats");
  std::vector<float> values(1000), back(1000);
  for (float& value : values) value = static_cast<float>(rng.normal());
  for (const Dtype dtype : {Dtype::F32, Dtype::BF16, Dtype::F16}) {
    std::vector<std::byte> bytes(values.size() * checkpoint::bytes_of(dtype));
    ASSERT_TRUE(encode(values, dtype, bytes));
    ASSERT_TRUE(decode(bytes, dtype, back));
    const double relative = dtype == Dtype::F32 ? 0 : dtype == Dtype::BF16 ? 0x1p-8 : 0x1p-11;
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_LE(std::fabs(back[i] - values[i]), relative * std::fabs(values[i]) + 0x1p-25);
  }
}

TEST(NumberFormats, WhatF16CannotHoldIsRefusedAndNotMadeInfinite) {
  const std::vector<float> values = {1.0f, 65504.0f, 70000.0f};
  std::vector<std::byte> bytes(6);
  const auto result = encode(values, Dtype::F16, bytes);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("element 2 is 70000"), std::string::npos)
      << result.error().message;
}

TEST(NumberFormats, BlocksOfEveryShapeHaveEachTheirOwnScale) {
  Rng rng(4, "blocks");
  for (const std::int64_t rows : {1, 2, 3, 4, 5, 7})
    for (const std::int64_t columns : {1, 2, 3, 4, 5, 9}) {
      const BlockedShape shape{rows, columns, 3, 4};
      std::vector<float> values(static_cast<std::size_t>(rows * columns)), back = values;
      for (float& value : values) value = static_cast<float>(rng.normal() * 100);
      std::vector<std::uint8_t> codes(values.size());
      std::vector<float> scales(
          static_cast<std::size_t>(shape.scale_rows() * shape.scale_columns()), -1.0f);
      quantize_blocks(shape, values, codes, scales);
      dequantize_blocks(shape, codes, scales, back);
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < columns; ++c) {
          const auto i = static_cast<std::size_t>(r * columns + c);
          const float scale = scales[static_cast<std::size_t>(r / 3 * ((columns + 3) / 4) + c / 4)];
          EXPECT_EQ(back[i], from_e4m3(codes[i]) * scale);
          // E4M3 has three mantissa bits; below its normal numbers the step is 2^-9 scales.
          EXPECT_LE(std::fabs(back[i] - values[i]),
                    std::max(std::fabs(values[i]) / 16, scale * 0x1p-10f) * 1.00001f);
        }
    }
}

TEST(NumberFormats, AnExportHoldsTheNumbersThatTrainingMultiplied) {
  Rng rng(6, "exported blocks");
  const BlockedShape shape{300, 200};
  std::vector<float> values(300 * 200);
  for (float& value : values)
    value = static_cast<float>(rng.normal() * std::pow(2.0, static_cast<int>(rng.below(20)) - 10));
  std::vector<std::uint8_t> codes(values.size()), trained(values.size());
  std::vector<float> scales(3 * 2), trained_scales(3 * 2);
  quantize_blocks(shape, values, codes, scales);
  kernels::quantize_blocks(values.data(), 300, 200, kernels::Fp8Scale::Fp32, trained.data(),
                           trained_scales.data());
  EXPECT_EQ(scales, trained_scales);
  EXPECT_EQ(codes, trained);
}

TEST(NumberFormats, ABlockOfZerosStaysZero) {
  const BlockedShape shape{2, 2, 2, 2};
  const std::vector<float> zeros(4);
  std::vector<float> back(4, 1.0f), scales(1);
  std::vector<std::uint8_t> codes(4);
  quantize_blocks(shape, zeros, codes, scales);
  EXPECT_EQ(scales[0], 1.0f);
  dequantize_blocks(shape, codes, scales, back);
  EXPECT_EQ(back, zeros);
}

TEST(NumberFormats, TheFirstNumberThatIsNoneIsNamed) {
  std::vector<float> values(10, 1.0f);
  EXPECT_TRUE(check_finite(values));
  values[7] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(check_finite(values).error().message, "element 7 is -inf");
}

}  // namespace
}  // namespace weft::trainer::hf

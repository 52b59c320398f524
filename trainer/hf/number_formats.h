// How published weights store their numbers: plain formats, and FP8 in blocks that share a scale.
// Pure; no files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/expected.h"
#include "trainer/checkpoint/safetensors.h"

namespace weft::trainer::hf {

/// `out` gets `values` as F32, BF16 or F16, little endian; rounds to nearest, ties to even. A
/// finite value that F16 cannot hold is an error (InvalidArgument, naming value and element), never
/// an infinity.
Expected<void> encode(std::span<const float> values, checkpoint::Dtype dtype,
                      std::span<std::byte> out);

/// The other way; exact. Errors: InvalidArgument for a dtype that is none of the three.
Expected<void> decode(std::span<const std::byte> bytes, checkpoint::Dtype dtype,
                      std::span<float> out);

/// A matrix in E4M3 with one scale for each block of so many rows and columns; those at the right
/// and lower edge may be smaller. value = code * scale. Source: DeepSeek-V3's weight_scale_inv.
struct BlockedShape {
  std::int64_t rows = 0, columns = 0;
  std::int64_t block_rows = 128, block_columns = 128;

  std::int64_t scale_rows() const { return (rows + block_rows - 1) / block_rows; }
  std::int64_t scale_columns() const { return (columns + block_columns - 1) / block_columns; }
};

/// scale = the block's largest magnitude / 448 (1 for a block of zeros), code = value / scale
/// rounded to nearest even, both in float: the numbers that training with precision fp8 multiplies
/// (kernels/fp8_tiles.h). `values` must be finite.
void quantize_blocks(const BlockedShape& shape, std::span<const float> values,
                     std::span<std::uint8_t> codes, std::span<float> scales);
void dequantize_blocks(const BlockedShape& shape, std::span<const std::uint8_t> codes,
                       std::span<const float> scales, std::span<float> values);

/// Errors: Corrupt naming the first element that is NaN or infinite.
Expected<void> check_finite(std::span<const float> values);

}  // namespace weft::trainer::hf

// Numbers in E4M3 with one FP32 scale for each tile of them: how the FP8 recipe of DeepSeek-V3
// holds what its products read. value = code * scale.
//
//   activations and their gradients   1 x 128 tiles: a row's bits depend on that row alone
//   the same for weight gradients     128 x 1 tiles: the products' inner index is the token there
//   weights                           128 x 128 blocks, as `weight_scale_inv` in checkpoints
//
// The last tile of a row or a column may be short. Maxima are taken of the tile itself, at the
// moment of quantising. Source: DeepSeek-V3 report, section 3.3.2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/expected.h"
#include "base/small_floats.h"

namespace weft::trainer::kernels {

inline constexpr int kFp8Tile = 128;
constexpr int fp8_tiles(int n) { return (n + kFp8Tile - 1) / kFp8Tile; }

/// How a tile's scale follows from its largest finite magnitude.
enum class Fp8Scale {
  Fp32,       // largest / 448: the largest value becomes the largest code
  PowerOfTwo  // the smallest power of two with which the largest value stays within the format, so
              // that scaling itself never rounds
};
std::string_view to_string(Fp8Scale rule);
/// "fp32", "power_of_two". Errors: InvalidArgument.
Expected<Fp8Scale> parse_fp8_scale(std::string_view text);

/// The scale of an E4M3 tile: 2^-126 at least, and 1 for a tile of zeros. Infinities and NaN have
/// no part in `largest`; they become NaN codes.
float e4m3_scale(float largest, Fp8Scale rule);

/// Rows in 1 x 128 tiles. A view: the memory belongs to somebody else.
struct Fp8Rows {
  const std::uint8_t* codes = nullptr;  // [rows, columns]
  const float* scales = nullptr;        // [rows, fp8_tiles(columns)]
  int rows = 0;
  int columns = 0;
};

/// x [rows, columns] to codes and scales as in Fp8Rows. A code is its value divided by the scale,
/// rounded to FP32 and then to E4M3. T: float or Bf16.
template <class T>
void quantize_rows(const T* x, int rows, int columns, Fp8Scale rule, std::uint8_t* codes,
                   float* scales);
/// code * scale, rounded to T.
template <class T>
void dequantize_rows(const Fp8Rows& rows, T* x);

/// w [rows, columns] to codes [rows, columns] and scales [fp8_tiles(rows), fp8_tiles(columns)].
void quantize_blocks(const float* w, int rows, int columns, Fp8Scale rule, std::uint8_t* codes,
                     float* scales);
void dequantize_blocks(const std::uint8_t* codes, const float* scales, int rows, int columns,
                       float* w);

}  // namespace weft::trainer::kernels

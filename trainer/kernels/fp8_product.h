// The inner loop of the FP8 recipe: products of E4M3 numbers, summed in FP32, with each 128 of the
// inner index scaled and promoted on its own.
//
//   c[i][j] = c0 + part[0] * (left_scale[i][0] * right_scale[0][j]) + part[1] * (...) + ...
//   part[b] = sum of left[i][k] * right[k][j] over the k of block b
//
// Every sum is taken in ascending order, every operation rounded to FP32; products of two E4M3
// numbers are exact in FP32. c0 is 0, or what is there with `accumulate`. So an element depends on
// its own row and column only, whatever is computed beside it and on whatever machine (tested
// against the plain loop, bit for bit).
//
// Tensor cores keep about 14 bits of a sum while they are inside a block and promote it to FP32
// after 128 (DeepSeek-V3 report, section 3.3.2). That flaw of one device is not imitated: a block's
// sum is an FP32 sum here.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/small_floats.h"
#include "trainer/kernels/fp8_tiles.h"

namespace weft::trainer::kernels {

/// Two neighbours of the inner index, each as the BF16 number that an E4M3 number is: the even one
/// in the upper half. (The order in which the processor's BF16 instruction takes them.)
using Fp8Pair = std::uint32_t;
constexpr int fp8_pairs(int inner) { return (inner + 1) / 2; }

/// Columns that lie together: pairs of columns are stored [panel][pair][kFp8Panel].
inline constexpr int kFp8Panel = 32;
constexpr int fp8_panels(int columns) { return (columns + kFp8Panel - 1) / kFp8Panel; }
/// Pairs of a matrix [inner, columns] in panels.
constexpr std::size_t fp8_panel_pairs(int inner, int columns) {
  return static_cast<std::size_t>(fp8_panels(columns)) * kFp8Panel *
         static_cast<std::size_t>(fp8_pairs(inner));
}
/// Scales of the same, one for each block of 128 and column, columns padded to whole panels.
constexpr std::size_t fp8_panel_scales(int inner, int columns) {
  return static_cast<std::size_t>(fp8_panels(columns)) * kFp8Panel *
         static_cast<std::size_t>(fp8_tiles(inner));
}

/// The left operand [rows, inner]: rows of pairs as quantize_rows made them, or (in_panels) the
/// transpose of a matrix in panels.
struct Fp8Left {
  const Fp8Pair* pairs = nullptr;
  const float* scales = nullptr;  // rows: [rows, tiles]; panels: [tiles, padded rows]
  bool in_panels = false;
};

/// The right operand [inner, columns], in panels.
struct Fp8Right {
  const Fp8Pair* pairs = nullptr;
  const float* scales = nullptr;  // [tiles, padded columns]
};

/// Rows first_row..last_row of c [rows, columns] = left [rows, inner] right [inner, columns], or +=
/// with `accumulate`. first_row: a multiple of 4. T: float or Bf16; Bf16 is rounded once, at the
/// end.
template <class T>
void fp8_product(const Fp8Left& left, const Fp8Right& right, int first_row, int last_row, int inner,
                 int rows, int columns, T* c, bool accumulate);

/// Codes [rows, columns] to pairs [rows, fp8_pairs(columns)].
void pair_rows(const std::uint8_t* codes, int rows, int columns, Fp8Pair* pairs);
/// Codes [inner, columns] to panels.
void pair_panels(const std::uint8_t* codes, int inner, int columns, Fp8Pair* pairs);
/// Codes [columns, inner] to panels.
void pair_panels_transposed(const std::uint8_t* codes, int inner, int columns, Fp8Pair* pairs);

/// Values [inner, columns] to E4M3 in tiles of 128 x 1 in panels, with their scales: what a weight
/// gradient multiplies. T: float or Bf16.
template <class T>
void quantize_panels(const T* x, int inner, int columns, Fp8Scale rule, Fp8Pair* pairs,
                     float* scales);

}  // namespace weft::trainer::kernels

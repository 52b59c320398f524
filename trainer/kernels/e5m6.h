// Storage in E5M6, 12 bits a number, with one power-of-two scale for each 1 x 128 tile: the cached
// input of the linear after attention (DeepSeek-V3 report, section 3.3.3). Scales are powers of two
// so that going over to 128 x 1 tiles in the backward adds no error of scaling.
#pragma once

#include <cstddef>
#include <cstdint>

#include "trainer/kernels/fp8_tiles.h"

namespace weft::trainer::kernels {

/// Two numbers lie in three bytes, the first one in the lower 12 bits.
constexpr std::size_t e5m6_row_bytes(int columns) {
  return (static_cast<std::size_t>(columns) * 3 + 1) / 2;
}

/// x [rows, columns] to codes [rows, e5m6_row_bytes(columns)] and scales [rows,
/// fp8_tiles(columns)]. T: float or Bf16. Infinity and NaN become NaN.
template <class T>
void store_e5m6(const T* x, int rows, int columns, std::uint8_t* codes, float* scales);
/// The mirror, rounded to T.
template <class T>
void load_e5m6(const std::uint8_t* codes, const float* scales, int rows, int columns, T* x);

}  // namespace weft::trainer::kernels

#include "trainer/kernels/fp8_tiles.h"

#include <algorithm>
#include <array>
#include <string>

#include "trainer/kernels/fp8_codec.h"
#include "trainer/kernels/fp8_scale.h"

namespace weft::trainer::kernels {

std::string_view to_string(Fp8Scale rule) {
  return rule == Fp8Scale::Fp32 ? "fp32" : "power_of_two";
}

Expected<Fp8Scale> parse_fp8_scale(std::string_view text) {
  for (const Fp8Scale rule : {Fp8Scale::Fp32, Fp8Scale::PowerOfTwo}) {
    if (text == to_string(rule)) return rule;
  }
  return fail(Code::InvalidArgument,
              "unknown FP8 scale '" + std::string(text) + "'; fp32 or power_of_two");
}

float e4m3_scale(float largest, Fp8Scale rule) {
  return tile_scale<E4m3>(std::bit_cast<std::uint32_t>(largest), rule);
}

template <class T>
void quantize_rows(const T* x, int rows, int columns, Fp8Scale rule, std::uint8_t* codes,
                   float* scales) {
  for (int r = 0; r < rows; ++r) {
    for (int begin = 0; begin < columns; begin += kFp8Tile) {
      const int n = std::min(kFp8Tile, columns - begin);
      const float scale = tile_scale<E4m3>(largest_bits(x, n), rule);
#pragma omp simd
      for (int i = 0; i < n; ++i) {
        codes[i] = static_cast<std::uint8_t>(E4m3::encode(static_cast<float>(x[i]) / scale));
      }
      *scales++ = scale;
      x += n;
      codes += n;
    }
  }
}

template <class T>
void dequantize_rows(const Fp8Rows& rows, T* x) {
  const std::uint8_t* codes = rows.codes;
  const float* scales = rows.scales;
  for (int r = 0; r < rows.rows; ++r) {
    for (int begin = 0; begin < rows.columns; begin += kFp8Tile) {
      const int n = std::min(kFp8Tile, rows.columns - begin);
      const float scale = *scales++;
#pragma omp simd
      for (int i = 0; i < n; ++i) x[i] = static_cast<T>(E4m3::decode(codes[i]) * scale);
      x += n;
      codes += n;
    }
  }
}

namespace {

/// run(first row, number of rows, first column, number of columns, index of the scale).
template <class Run>
void each_block(int rows, int columns, const Run& run) {
  int index = 0;
  for (int row = 0; row < rows; row += kFp8Tile) {
    for (int column = 0; column < columns; column += kFp8Tile) {
      run(row, std::min(kFp8Tile, rows - row), column, std::min(kFp8Tile, columns - column),
          index++);
    }
  }
}

}  // namespace

void quantize_blocks(const float* w, int rows, int columns, Fp8Scale rule, std::uint8_t* codes,
                     float* scales) {
  each_block(rows, columns, [&](int row, int height, int column, int width, int index) {
    const std::ptrdiff_t corner = static_cast<std::ptrdiff_t>(row) * columns + column;
    std::uint32_t largest = 0;
    for (int r = 0; r < height; ++r) {
      largest = std::max(
          largest, largest_bits(w + corner + static_cast<std::ptrdiff_t>(r) * columns, width));
    }
    const float scale = scales[index] = tile_scale<E4m3>(largest, rule);
    for (int r = 0; r < height; ++r) {
      const std::ptrdiff_t at = corner + static_cast<std::ptrdiff_t>(r) * columns;
#pragma omp simd
      for (int i = 0; i < width; ++i) {
        codes[at + i] = static_cast<std::uint8_t>(E4m3::encode(w[at + i] / scale));
      }
    }
  });
}

void dequantize_blocks(const std::uint8_t* codes, const float* scales, int rows, int columns,
                       float* w) {
  each_block(rows, columns, [&](int row, int height, int column, int width, int index) {
    const float scale = scales[index];
    for (int r = 0; r < height; ++r) {
      const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(row + r) * columns + column;
#pragma omp simd
      for (int i = 0; i < width; ++i) w[at + i] = E4m3::decode(codes[at + i]) * scale;
    }
  });
}

template void quantize_rows(const float*, int, int, Fp8Scale, std::uint8_t*, float*);
template void quantize_rows(const Bf16*, int, int, Fp8Scale, std::uint8_t*, float*);
template void dequantize_rows(const Fp8Rows&, float*);
template void dequantize_rows(const Fp8Rows&, Bf16*);

}  // namespace weft::trainer::kernels

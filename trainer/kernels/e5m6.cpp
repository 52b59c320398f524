#include "trainer/kernels/e5m6.h"

#include <algorithm>

#include "trainer/kernels/fp8_codec.h"
#include "trainer/kernels/fp8_scale.h"

namespace weft::trainer::kernels {

template <class T>
void store_e5m6(const T* x, int rows, int columns, std::uint8_t* codes, float* scales) {
  const std::size_t row_bytes = e5m6_row_bytes(columns);
  for (int r = 0; r < rows; ++r, x += columns, codes += row_bytes) {
    for (int begin = 0; begin < columns; begin += kFp8Tile) {
      const int n = std::min(kFp8Tile, columns - begin);
      const float scale = tile_scale<E5m6>(largest_bits(x + begin, n), Fp8Scale::PowerOfTwo);
      *scales++ = scale;
      std::uint32_t tile[kFp8Tile + 1] = {};
#pragma omp simd
      for (int i = 0; i < n; ++i) tile[i] = E5m6::encode(static_cast<float>(x[begin + i]) / scale);
      std::uint8_t* to = codes + begin / 2 * 3;
      for (int i = 0; i < n; i += 2, to += 3) {
        to[0] = static_cast<std::uint8_t>(tile[i]);
        to[1] = static_cast<std::uint8_t>(tile[i] >> 8 | (tile[i + 1] & 15) << 4);
        if (i + 1 < n) to[2] = static_cast<std::uint8_t>(tile[i + 1] >> 4);
      }
    }
  }
}

template <class T>
void load_e5m6(const std::uint8_t* codes, const float* scales, int rows, int columns, T* x) {
  const std::size_t row_bytes = e5m6_row_bytes(columns);
  for (int r = 0; r < rows; ++r, x += columns, codes += row_bytes) {
    for (int begin = 0; begin < columns; begin += kFp8Tile) {
      const int n = std::min(kFp8Tile, columns - begin);
      const std::uint8_t* from = codes + begin / 2 * 3;
      const float scale = *scales++;
      for (int i = 0; i < n; ++i) {
        const std::uint8_t* at = from + i / 2 * 3;
        const auto code = static_cast<std::uint32_t>(i % 2 == 0 ? at[0] | (at[1] & 15) << 8
                                                                : at[1] >> 4 | at[2] << 4);
        x[begin + i] = static_cast<T>(E5m6::decode(code) * scale);
      }
    }
  }
}

template void store_e5m6(const float*, int, int, std::uint8_t*, float*);
template void store_e5m6(const Bf16*, int, int, std::uint8_t*, float*);
template void load_e5m6(const std::uint8_t*, const float*, int, int, float*);
template void load_e5m6(const std::uint8_t*, const float*, int, int, Bf16*);

}  // namespace weft::trainer::kernels

#include <algorithm>
#include <cstring>

#include "trainer/kernels/fp8_codec.h"
#include "trainer/kernels/fp8_product.h"
#include "trainer/kernels/fp8_scale.h"

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace weft::trainer::kernels {
namespace {

constexpr int kLanes = 16;
constexpr int kVectors = kFp8Panel / kLanes;
constexpr int kTilePairs = kFp8Tile / 2;

typedef float Floats __attribute__((vector_size(64), aligned(4), may_alias));
typedef std::uint32_t Pairs __attribute__((vector_size(64), aligned(4), may_alias));

/// sum + left.even * right.even + left.odd * right.odd, in this order.
inline Floats add_products(Floats sum, Fp8Pair left, Pairs right) {
#ifdef __AVX512BF16__
  return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(static_cast<int>(left)),
                                  (__m512bh)right);
#else
  sum = sum + std::bit_cast<float>(left & 0xffff0000u) * (Floats)(right & 0xffff0000u);
  return sum + std::bit_cast<float>(left << 16) * (Floats)(right << 16);
#endif
}

/// How to walk through one operand: element (row, pair) and scale (row, tile).
struct LeftRows {
  const Fp8Pair* pairs;
  std::ptrdiff_t row_stride, pair_stride;
  const float* scales;
  std::ptrdiff_t scale_row_stride, scale_tile_stride;
};

/// Rows of a tile of the result, a panel wide.
template <int kRows>
void product_tile(const LeftRows& left, const Fp8Pair* right, const float* right_scales,
                  std::ptrdiff_t right_scale_stride, int num_pairs,
                  Floats (&sum)[kRows][kVectors]) {
  for (int first = 0, tile = 0; first < num_pairs; first += kTilePairs, ++tile) {
    Floats part[kRows][kVectors] = {};
    const int last = std::min(first + kTilePairs, num_pairs);
    for (int p = first; p < last; ++p) {
      Pairs b[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        b[v] = *reinterpret_cast<const Pairs*>(right + p * kFp8Panel + v * kLanes);
      }
      for (int r = 0; r < kRows; ++r) {
        const Fp8Pair a = left.pairs[r * left.row_stride + p * left.pair_stride];
        for (int v = 0; v < kVectors; ++v) part[r][v] = add_products(part[r][v], a, b[v]);
      }
    }
    for (int v = 0; v < kVectors; ++v) {
      const Floats of_right =
          *reinterpret_cast<const Floats*>(right_scales + tile * right_scale_stride + v * kLanes);
      for (int r = 0; r < kRows; ++r) {
        const float of_left =
            left.scales[r * left.scale_row_stride + tile * left.scale_tile_stride];
        sum[r][v] = sum[r][v] + part[r][v] * (of_left * of_right);
      }
    }
  }
}

/// Loads and stores `n` of a panel's columns of the result.
template <class T, int kRows>
void load_tile(const T* c, std::ptrdiff_t ldc, int n, Floats (&sum)[kRows][kVectors]) {
  for (int r = 0; r < kRows; ++r) {
    alignas(64) float row[kFp8Panel] = {};
    for (int j = 0; j < n; ++j) row[j] = static_cast<float>(c[r * ldc + j]);
    std::memcpy(&sum[r][0], row, sizeof row);
  }
}

template <class T, int kRows>
void store_tile(const Floats (&sum)[kRows][kVectors], T* c, std::ptrdiff_t ldc, int n) {
  for (int r = 0; r < kRows; ++r) {
    alignas(64) float row[kFp8Panel];
    std::memcpy(row, &sum[r][0], sizeof row);
    for (int j = 0; j < n; ++j) c[r * ldc + j] = static_cast<T>(row[j]);
  }
}

LeftRows left_rows(const Fp8Left& left, int row, int rows, int inner) {
  const int num_pairs = fp8_pairs(inner), tiles = fp8_tiles(inner);
  if (left.in_panels) {
    const std::ptrdiff_t panel = row / kFp8Panel;
    return {left.pairs + panel * kFp8Panel * num_pairs + row % kFp8Panel,
            1,
            kFp8Panel,
            left.scales + row,
            1,
            static_cast<std::ptrdiff_t>(fp8_panels(rows)) * kFp8Panel};
  }
  return {left.pairs + static_cast<std::ptrdiff_t>(row) * num_pairs, num_pairs, 1,
          left.scales + static_cast<std::ptrdiff_t>(row) * tiles,    tiles,     1};
}

}  // namespace

template <class T>
void fp8_product(const Fp8Left& left, const Fp8Right& right, int first_row, int last_row, int inner,
                 int rows, int columns, T* c, bool accumulate) {
  const int num_pairs = fp8_pairs(inner);
  const std::ptrdiff_t scale_stride = static_cast<std::ptrdiff_t>(fp8_panels(columns)) * kFp8Panel;
  const auto tile = [&]<int kRows>(int row, int column) {
    T* at = c + static_cast<std::ptrdiff_t>(row) * columns + column;
    const int n = std::min(kFp8Panel, columns - column);
    Floats sum[kRows][kVectors] = {};
    if (accumulate) load_tile<T, kRows>(at, columns, n, sum);
    product_tile<kRows>(left_rows(left, row, rows, inner),
                        right.pairs + static_cast<std::ptrdiff_t>(column) * num_pairs,
                        right.scales + column, scale_stride, num_pairs, sum);
    store_tile<T, kRows>(sum, at, columns, n);
  };
  // Four rows never straddle two panels of the left operand: first_row is a multiple of four.
  for (int column = 0; column < columns; column += kFp8Panel) {
    int row = first_row;
    for (; row + 4 <= last_row; row += 4) tile.template operator()<4>(row, column);
    for (; row < last_row; ++row) tile.template operator()<1>(row, column);
  }
}

template void fp8_product(const Fp8Left&, const Fp8Right&, int, int, int, int, int, float*, bool);
template void fp8_product(const Fp8Left&, const Fp8Right&, int, int, int, int, int, Bf16*, bool);

namespace {

inline Fp8Pair pair_of(std::uint32_t even_bits, std::uint32_t odd_bits) {
  return even_bits | odd_bits >> 16;
}

}  // namespace

void pair_rows(const std::uint8_t* codes, int rows, int columns, Fp8Pair* pairs) {
  for (int r = 0; r < rows; ++r, codes += columns) {
#pragma omp simd
    for (int p = 0; p < columns / 2; ++p) {
      pairs[p] = pair_of(E4m3::decode_bits(codes[2 * p]), E4m3::decode_bits(codes[2 * p + 1]));
    }
    pairs += columns / 2;
    if (columns % 2 != 0) *pairs++ = pair_of(E4m3::decode_bits(codes[columns - 1]), 0);
  }
}

void pair_panels(const std::uint8_t* codes, int inner, int columns, Fp8Pair* pairs) {
  for (int column = 0; column < columns; column += kFp8Panel) {
    const int n = std::min(kFp8Panel, columns - column);
    for (int k = 0; k < inner; k += 2, pairs += kFp8Panel) {
      const std::uint8_t* even = codes + static_cast<std::ptrdiff_t>(k) * columns + column;
      const bool whole = k + 1 < inner;
      const std::uint8_t* odd = whole ? even + columns : even;
      for (int j = 0; j < n; ++j) {
        pairs[j] = pair_of(E4m3::decode_bits(even[j]), whole ? E4m3::decode_bits(odd[j]) : 0);
      }
      std::fill(pairs + n, pairs + kFp8Panel, 0u);
    }
  }
}

void pair_panels_transposed(const std::uint8_t* codes, int inner, int columns, Fp8Pair* pairs) {
  const int num_pairs = fp8_pairs(inner);
  std::fill_n(pairs, fp8_panel_pairs(inner, columns), 0u);
  for (int c = 0; c < columns; ++c, codes += inner) {
    Fp8Pair* to =
        pairs + static_cast<std::ptrdiff_t>(c / kFp8Panel) * kFp8Panel * num_pairs + c % kFp8Panel;
    for (int p = 0; p < num_pairs; ++p) {
      const std::uint32_t odd = 2 * p + 1 < inner ? E4m3::decode_bits(codes[2 * p + 1]) : 0;
      to[static_cast<std::ptrdiff_t>(p) * kFp8Panel] =
          pair_of(E4m3::decode_bits(codes[2 * p]), odd);
    }
  }
}

namespace {

/// One panel of one block of at most 128 rows: maxima and scales of its columns, then its pairs.
template <class T>
void quantize_panel(const T* x, std::ptrdiff_t ldx, int rows, int n, Fp8Scale rule, Fp8Pair* pairs,
                    float* scales) {
  std::uint32_t largest[kFp8Panel] = {};
  for (int r = 0; r < rows; ++r) {
#pragma omp simd
    for (int j = 0; j < n; ++j) {
      const std::uint32_t bits = finite_bits(static_cast<float>(x[r * ldx + j]));
      largest[j] = bits > largest[j] ? bits : largest[j];
    }
  }
  for (int j = 0; j < kFp8Panel; ++j) scales[j] = tile_scale<E4m3>(largest[j], rule);
  const auto rounded = [&](std::ptrdiff_t at, int j) {
    return E4m3::decode_bits(E4m3::encode(static_cast<float>(x[at + j]) / scales[j]));
  };
  for (int r = 0; r < rows; r += 2, pairs += kFp8Panel) {
    const std::ptrdiff_t even = r * ldx, odd = even + ldx;
    if (r + 1 < rows) {
#pragma omp simd
      for (int j = 0; j < n; ++j) pairs[j] = pair_of(rounded(even, j), rounded(odd, j));
    } else {
      for (int j = 0; j < n; ++j) pairs[j] = pair_of(rounded(even, j), 0);
    }
    std::fill(pairs + n, pairs + kFp8Panel, 0u);
  }
}

}  // namespace

template <class T>
void quantize_panels(const T* x, int inner, int columns, Fp8Scale rule, Fp8Pair* pairs,
                     float* scales) {
  const std::ptrdiff_t padded = static_cast<std::ptrdiff_t>(fp8_panels(columns)) * kFp8Panel;
  for (int column = 0; column < columns; column += kFp8Panel) {
    const int n = std::min(kFp8Panel, columns - column);
    for (int k = 0; k < inner; k += kFp8Tile) {
      const int rows = std::min(kFp8Tile, inner - k);
      quantize_panel(x + static_cast<std::ptrdiff_t>(k) * columns + column, columns, rows, n, rule,
                     pairs, scales + (k / kFp8Tile) * padded + column);
      pairs += static_cast<std::ptrdiff_t>(fp8_pairs(rows)) * kFp8Panel;
    }
  }
}

template void quantize_panels(const float*, int, int, Fp8Scale, Fp8Pair*, float*);
template void quantize_panels(const Bf16*, int, int, Fp8Scale, Fp8Pair*, float*);

}  // namespace weft::trainer::kernels

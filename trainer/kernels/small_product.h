// Products of matrices a few dozen wide, as attention heads need them, in registers. Sums run in
// ascending inner index, so that a result does not depend on the sizes around it.
#pragma once

#include <algorithm>
#include <cstddef>

#include "trainer/kernels/vector_math.h"

namespace weft::trainer::kernels {

/// A strided operand: element (row, inner) is data[row * row_stride + inner * inner_stride].
struct Strided {
  const Real* data;
  std::ptrdiff_t row_stride;
  std::ptrdiff_t inner_stride;
};

template <int kRows, int kVectors>
inline void product_tile(int inner, const Strided& a, const Real* b, std::ptrdiff_t ldb, Real* c,
                         std::ptrdiff_t ldc) {
  Vector sum[kRows][kVectors] = {};
  for (int k = 0; k < inner; ++k) {
    const Real* b_row = b + k * ldb;
    Vector right[kVectors];
    for (int v = 0; v < kVectors; ++v)
      right[v] = *reinterpret_cast<const Vector*>(b_row + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const Real left = a.data[r * a.row_stride + k * a.inner_stride];
      for (int v = 0; v < kVectors; ++v) sum[r][v] += right[v] * left;
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      *reinterpret_cast<Vector*>(c + r * ldc + v * kLanes) = sum[r][v];
    }
  }
}

template <int kRows>
inline void product_rows(int inner, int n, const Strided& a, const Real* b, std::ptrdiff_t ldb,
                         Real* c, std::ptrdiff_t ldc) {
  int column = 0;
  for (; column + 2 * kLanes <= n; column += 2 * kLanes) {
    product_tile<kRows, 2>(inner, a, b + column, ldb, c + column, ldc);
  }
  if (column < n) product_tile<kRows, 1>(inner, a, b + column, ldb, c + column, ldc);
}

/// c [rows, n] = a [rows, inner] b [inner, n]; n is a multiple of kLanes, and rows of b and c have
/// room for it.
inline void small_product(int rows, int inner, int n, Strided a, const Real* b, std::ptrdiff_t ldb,
                          Real* c, std::ptrdiff_t ldc) {
  for (; rows >= 4; rows -= 4, a.data += 4 * a.row_stride, c += 4 * ldc) {
    product_rows<4>(inner, n, a, b, ldb, c, ldc);
  }
  for (; rows > 0; --rows, a.data += a.row_stride, c += ldc) {
    product_rows<1>(inner, n, a, b, ldb, c, ldc);
  }
}

}  // namespace weft::trainer::kernels

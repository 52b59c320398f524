// Rows of Real or Bf16 in whole vectors of Real: what the compiler does not find by itself for
// Bf16. A number is rounded to Bf16 by the processor's own instruction where it has one, which
// takes numbers below 1.2e-38 for zero.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include "base/small_floats.h"
#include "trainer/kernels/vector_math.h"

namespace weft::trainer::kernels {

typedef std::integral_constant<int, kLanes> Whole;

inline Vector load(const Real* from, Whole) { return *reinterpret_cast<const Vector*>(from); }
inline void store(Vector x, Real* to, Whole) { *reinterpret_cast<Vector*>(to) = x; }

#ifndef WEFT_REAL_DOUBLE
inline Vector load(const Bf16* from, Whole) {
  typedef std::uint16_t Half __attribute__((vector_size(32), aligned(2), may_alias));
  typedef std::uint32_t Bits __attribute__((vector_size(64)));
  return reinterpret_cast<Vector>(
      __builtin_convertvector(*reinterpret_cast<const Half*>(from), Bits) << 16);
}
inline void store(Vector x, Bf16* to, Whole) {
#ifdef __AVX512BF16__
  const __m256bh half = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(x));
  _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(to), reinterpret_cast<__m256i>(half));
#else
  for (int i = 0; i < kLanes; ++i) to[i] = Bf16(x[i]);
#endif
}
#endif

/// The first n lanes; zeros behind them.
template <class T>
Vector load(const T* from, int n) {
  T whole[kLanes] = {};
  for (int i = 0; i < n; ++i) whole[i] = from[i];
  return load(whole, Whole{});
}
template <class T>
void store(Vector x, T* to, int n) {
  T whole[kLanes];
  store(x, whole, Whole{});
  for (int i = 0; i < n; ++i) to[i] = whole[i];
}

/// run(first, how many) over [0, n): whole vectors, then what is left.
template <class Run>
void over_lanes(int n, const Run& run) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) run(i, Whole{});
  if (i < n) run(i, n - i);
}

inline Real sum_of_lanes(Vector x) {
  Real sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += x[i];
  return sum;
}

inline Vector sigmoid(Vector x) { return Real(1) / (Real(1) + vector_exp(-x)); }

}  // namespace weft::trainer::kernels

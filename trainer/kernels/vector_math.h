// The few functions that element-wise kernels need in a form that the compiler turns into vector
// code: multiply-add, exp, sigmoid, and short vectors for products too small for a library.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/small_floats.h"
#include "trainer/real.h"

namespace weft::trainer::kernels {

/// a * b + c with one rounding where the machine has it, which a build decides once.
inline Real multiply_add(Real a, Real b, Real c) {
#ifdef __FMA__
  return std::fma(a, b, c);
#else
  return a * b + c;
#endif
}

/// e^x. Float: relative error below 3e-7 on [-87, 88]; smaller arguments give about 1e-38, larger
/// ones about 1e38 (no infinity). Cephes-style range reduction, minimax polynomial of degree 6.
inline float vector_exp(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * 1.44269504088896341f + kMagic;
  const float n = shifted - kMagic;
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(shifted) << 23;  // wraps for NaN
  return p * std::bit_cast<float>(bits + (127u << 23));
}
inline double vector_exp(double x) { return std::exp(x); }

inline Real sigmoid(Real x) { return Real(1) / (Real(1) + vector_exp(-x)); }

/// Instantiates a kernel for every type that activations are kept in.
#ifdef WEFT_REAL_DOUBLE
#define WEFT_FOR_EACH_ACTIVATION(instantiate) instantiate(Real)
#else
#define WEFT_FOR_EACH_ACTIVATION(instantiate) instantiate(Real) instantiate(Bf16)
#endif

/// 64 bytes of numbers; the compiler cuts it up where registers are shorter.
typedef Real Vector __attribute__((vector_size(64), aligned(sizeof(Real)), may_alias));
constexpr int kLanes = 64 / sizeof(Real);
constexpr int padded(int n) { return (n + kLanes - 1) / kLanes * kLanes; }

/// vector_exp of every lane.
inline Vector vector_exp(Vector x) {
#ifdef WEFT_REAL_DOUBLE
  for (int i = 0; i < kLanes; ++i) x[i] = std::exp(x[i]);
  return x;
#else
  typedef std::uint32_t Bits __attribute__((vector_size(64)));  // wraps around for NaN
  const Vector lowest = Vector{} - 87.0f, highest = Vector{} + 88.0f;
  x = x < lowest ? lowest : x;
  x = x > highest ? highest : x;
  constexpr float kMagic = 12582912.0f;
  const Vector shifted = x * 1.44269504088896341f + kMagic;
  const Vector n = shifted - kMagic;
  Vector r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Vector p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const Bits bits = (reinterpret_cast<Bits>(shifted) << 23) + (127u << 23);
  return p * reinterpret_cast<Vector>(bits);
#endif
}

}  // namespace weft::trainer::kernels

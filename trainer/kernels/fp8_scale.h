// The inside of quantising a tile: its largest finite magnitude and the scale that follows.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "trainer/kernels/fp8_codec.h"
#include "trainer/kernels/fp8_tiles.h"

namespace weft::trainer::kernels {

/// Of a finite value its magnitude, else 0: as bits, which are ordered as the magnitudes are.
inline std::uint32_t finite_bits(float value) {
  const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(value) & 0x7fffffffu;
  return magnitude < 0x7f800000u ? magnitude : 0;
}

template <class T>
std::uint32_t largest_bits(const T* x, int n) {
  std::uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
  for (int i = 0; i < n; ++i) {
    const std::uint32_t magnitude = finite_bits(static_cast<float>(x[i]));
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

/// `largest`: the bits of a finite magnitude.
template <class Format>
float tile_scale(std::uint32_t largest, Fp8Scale rule) {
  constexpr float kSmallest = std::bit_cast<float>(1u << 23);  // 2^-126
  if (largest == 0) return 1.0f;
  if (rule == Fp8Scale::Fp32) {
    return std::max(std::bit_cast<float>(largest) / Format::kLargest, kSmallest);
  }
  // largest = m 2^e, the format's largest = m' 2^e': 2^(e - e'), twice that where m > m'.
  constexpr std::uint32_t kMantissa = (1u << 23) - 1;
  const auto exponent = static_cast<int>(largest >> 23);
  const int of_format = static_cast<int>(Format::kLargestBits >> 23);
  const int larger = (largest & kMantissa) > (Format::kLargestBits & kMantissa) ? 1 : 0;
  const int biased = std::max(exponent - of_format + larger + 127, 1);
  return std::bit_cast<float>(static_cast<std::uint32_t>(biased) << 23);
}

}  // namespace weft::trainer::kernels

// The small number formats that rows travel in, weights are stored in and products are made of,
// written out bit for bit.
//
// E4M3 (OCP FP8, Micikevicius et al. 2022): sign, 4 exponent bits (bias 7), 3 mantissa bits;
// largest 448, smallest 2^-9; no infinity; 0x7f and 0xff are NaN. BF16: the upper half of a float.
// F16 (IEEE 754 binary16): sign, 5 exponent bits (bias 15), 10 mantissa bits; largest 65504.
#pragma once

#include <bit>
#include <cstdint>

namespace weft {

inline constexpr double kE4m3Max = 448.0;

/// Rounds to nearest, ties to even. Saturates: a finite value beyond 448 becomes 448. Infinity,
/// which the format does not have, becomes NaN, so that a diverged row stays visible.
std::uint8_t to_e4m3(double value);
float from_e4m3(std::uint8_t code);

/// Rounds to nearest, ties to even; beyond the largest finite value: infinity.
std::uint16_t to_bf16(double value);
float from_bf16(std::uint16_t code);

/// Rounds to nearest, ties to even; beyond the largest finite value: infinity.
std::uint16_t to_f16(double value);
float from_f16(std::uint16_t code);

/// A BF16 number in an array: the bits alone. Converts by the same rule as to_bf16, written so that
/// a loop over it becomes vector code.
struct Bf16 {
  std::uint16_t bits = 0;

  Bf16() = default;
  explicit Bf16(float value) {
    const auto all = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = (all + 0x7fffu + (all >> 16 & 1u)) >> 16;
    const std::uint32_t quiet = (all >> 16) | 0x40u;  // NaN must not be rounded into infinity
    bits = static_cast<std::uint16_t>((all & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
  }
  operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
  friend bool operator==(Bf16 a, Bf16 b) { return a.bits == b.bits; }
};
static_assert(sizeof(Bf16) == 2);

}  // namespace weft

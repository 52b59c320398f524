// The two small number formats that rows travel in, written out bit for bit.
//
// E4M3 (OCP FP8, Micikevicius et al. 2022): sign, 4 exponent bits (bias 7), 3 mantissa bits;
// largest 448, smallest 2^-9; no infinity; 0x7f and 0xff are NaN. BF16: the upper half of a float.
#pragma once

#include <cstdint>

namespace weft::comm {

inline constexpr double kE4m3Max = 448.0;

/// Rounds to nearest, ties to even. Saturates: a finite value beyond 448 becomes 448. Infinity,
/// which the format does not have, becomes NaN, so that a diverged row stays visible.
std::uint8_t to_e4m3(double value);
float from_e4m3(std::uint8_t code);

/// Rounds to nearest, ties to even; beyond the largest finite value: infinity.
std::uint16_t to_bf16(double value);
float from_bf16(std::uint16_t code);

}  // namespace weft::comm

#include "base/small_floats.h"

#include <array>
#include <bit>
#include <cmath>
#include <limits>

namespace weft {
namespace {

/// Exponent and mantissa of a finite magnitude, rounded to nearest even, side by side as the format
/// stores them; carries into the exponent by itself. Too big a value gives too big a code.
template <int kMantissaBits, int kBias>
std::uint64_t round_magnitude(double magnitude) {
  constexpr double kSmallestNormal = 1.0 / static_cast<double>(__uint128_t{1} << (kBias - 1));
  if (magnitude < kSmallestNormal) {
    // Below 2^52 the spacing of doubles from 2^52 on is 1: adding and taking away rounds to even.
    constexpr double kMagic = 4503599627370496.0;
    const double steps = magnitude / kSmallestNormal * (1 << kMantissaBits);
    return static_cast<std::uint64_t>((steps + kMagic) - kMagic);
  }
  constexpr int kDropped = 52 - kMantissaBits;
  std::uint64_t bits = std::bit_cast<std::uint64_t>(magnitude);
  bits += (std::uint64_t{1} << (kDropped - 1)) - 1 + (bits >> kDropped & 1);
  return (bits >> kDropped) - (std::uint64_t{1023 - kBias} << kMantissaBits);
}

float decode_e4m3(unsigned code) {
  const int exponent = static_cast<int>(code >> 3 & 15), mantissa = static_cast<int>(code & 7);
  float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                  : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  if ((code & 0x7f) == 0x7f) magnitude = std::numeric_limits<float>::quiet_NaN();
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

const std::array<float, 256> kE4m3Values = [] {
  std::array<float, 256> values{};
  for (unsigned code = 0; code < 256; ++code) values[code] = decode_e4m3(code);
  return values;
}();

}  // namespace

std::uint8_t to_e4m3(double value) {
  constexpr std::uint64_t kLargest = 0x7e, kNan = 0x7f;
  const std::uint64_t sign = std::signbit(value) ? 0x80 : 0;
  if (!std::isfinite(value)) return static_cast<std::uint8_t>(sign | kNan);
  const std::uint64_t code = round_magnitude<3, 7>(std::fabs(value));
  return static_cast<std::uint8_t>(sign | (code < kLargest ? code : kLargest));
}

float from_e4m3(std::uint8_t code) { return kE4m3Values[code]; }

std::uint16_t to_bf16(double value) {
  constexpr std::uint64_t kInfinity = 0x7f80, kNan = 0x7fc0;
  const std::uint64_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | kNan);
  const std::uint64_t code =
      std::isinf(value) ? kInfinity : round_magnitude<7, 127>(std::fabs(value));
  return static_cast<std::uint16_t>(sign | (code < kInfinity ? code : kInfinity));
}

float from_bf16(std::uint16_t code) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(code) << 16);
}

std::uint16_t to_f16(double value) {
  constexpr std::uint64_t kInfinity = 0x7c00, kNan = 0x7e00;
  const std::uint64_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | kNan);
  const std::uint64_t code =
      std::isinf(value) ? kInfinity : round_magnitude<10, 15>(std::fabs(value));
  return static_cast<std::uint16_t>(sign | (code < kInfinity ? code : kInfinity));
}

float from_f16(std::uint16_t code) {
  const std::uint32_t sign = static_cast<std::uint32_t>(code & 0x8000u) << 16;
  const std::uint32_t magnitude = code & 0x7fffu;
  if (magnitude < 0x0400u) {  // subnormal: the mantissa counts steps of 2^-24
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  if (magnitude >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | (magnitude << 13));
  return std::bit_cast<float>(sign | ((magnitude << 13) + (std::uint32_t{127 - 15} << 23)));
}

}  // namespace weft

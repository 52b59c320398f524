// Float to E4M3 and E5M6 and back in a few integer operations without a branch, so that a loop over
// them becomes vector code. E4M3 has the bits of base/small_floats.h for every float (tested).
//
// E5M6 is the 12-bit format that DeepSeek-V3 keeps the input of the linear after attention in
// (report, section 3.3.3): sign, 5 exponent bits (bias 15), 6 mantissa bits. The report does not
// say what its extreme codes mean; here they follow E4M3: no infinity, all ones is NaN.
#pragma once

#include <bit>
#include <cstdint>

namespace weft::trainer::kernels {

/// Sign, exponent, mantissa; the largest exponent holds numbers too, all ones is NaN.
template <int kExponentBits, int kMantissaBits>
struct SmallFloat {
  static constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
  static constexpr std::uint32_t kNan = (1u << (kExponentBits + kMantissaBits)) - 1;
  static constexpr std::uint32_t kSign = kNan + 1;
  static constexpr int kDropped = 23 - kMantissaBits;  // mantissa bits of a float
  static constexpr std::uint32_t kRebias = static_cast<std::uint32_t>(127 - kBias);
  static constexpr std::uint32_t kSmallestNormal = (kRebias + 1) << 23;  // as a float's bits
  /// A float beside which one unit in the last place is one step of the subnormal numbers.
  static constexpr float kMagic =
      std::bit_cast<float>(static_cast<std::uint32_t>(127 + 24 - kBias - kMantissaBits) << 23);
  static constexpr std::uint32_t kLargestBits =
      ((kNan - 1) << kDropped) + (kRebias << 23);  // of the largest value, as a float's bits
  static constexpr float kLargest = std::bit_cast<float>(kLargestBits);

  /// Nearest, ties to even; finite values saturate, infinity and NaN become NaN.
  static std::uint32_t encode(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    const std::uint32_t half = (1u << (kDropped - 1)) - 1 + (magnitude >> kDropped & 1u);
    const std::uint32_t normal = ((magnitude + half) >> kDropped) - (kRebias << kMantissaBits);
    const std::uint32_t small =
        std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + kMagic) -
        std::bit_cast<std::uint32_t>(kMagic);
    std::uint32_t code = magnitude < kSmallestNormal ? small : normal;
    code = code < kNan - 1 ? code : kNan - 1;
    code = magnitude >= 0x7f800000u ? kNan : code;
    return code | (bits >> 31) * kSign;
  }

  /// Exact. As the bits of a float; of an E4M3 number the lower half is zero: it is a BF16 number.
  static std::uint32_t decode_bits(std::uint32_t code) {
    const std::uint32_t magnitude = code & kNan;
    const std::uint32_t normal = (magnitude << kDropped) + (kRebias << 23);
    const std::uint32_t small = std::bit_cast<std::uint32_t>(
        std::bit_cast<float>(std::bit_cast<std::uint32_t>(kMagic) + magnitude) - kMagic);
    std::uint32_t bits = magnitude < (1u << kMantissaBits) ? small : normal;
    bits = magnitude == kNan ? 0x7fc00000u : bits;
    return bits | (code & kSign) << (31 - kExponentBits - kMantissaBits);
  }
  static float decode(std::uint32_t code) { return std::bit_cast<float>(decode_bits(code)); }
};

using E4m3 = SmallFloat<4, 3>;  // up to 448, steps of 2^-9 near zero
using E5m6 = SmallFloat<5, 6>;  // up to 129024, steps of 2^-20 near zero
static_assert(E4m3::kLargest == 448.0f && E5m6::kLargest == 129024.0f);

}  // namespace weft::trainer::kernels

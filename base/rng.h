// Counter-based randomness: every draw is a function of what it is for (a seed, a purpose, up to
// three indices such as step, sample, token) and of how many draws were made for that, never of who
// draws it or when. Philox4x32-10 (Salmon et al., SC '11).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace weft {

class Rng {
 public:
  Rng(std::uint64_t seed, std::string_view purpose, std::uint64_t a = 0, std::uint64_t b = 0,
      std::uint64_t c = 0);

  std::uint32_t next_u32();
  std::uint64_t next_u64();
  /// In [0, 1), 53 bits.
  double uniform();
  /// Standard normal (Box-Muller; two draws a call).
  double normal();
  /// In [0, n), unbiased. n must not be 0.
  std::uint32_t below(std::uint32_t n);

 private:
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 4> block_{};
  int used_ = 4;
};

/// FNV-1a, 64 bits: a stable hash for purposes and fingerprints of short text; not for integrity.
std::uint64_t fnv1a(std::string_view text);

}  // namespace weft

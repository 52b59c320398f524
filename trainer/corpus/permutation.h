// A shuffle that needs no memory: element i of a pseudo-random permutation of 0 .. n - 1, by a
// small Feistel network over the next even number of bits, walked until it falls below n (Black and
// Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace weft::trainer::corpus {

/// A value. Threads: any.
class Permutation {
 public:
  /// Of 0 .. size - 1, keyed by what it is for. An identity when `shuffle` is false.
  Permutation(std::uint64_t size, bool shuffle, std::uint64_t seed, std::string_view purpose,
              std::uint64_t a = 0, std::uint64_t b = 0);

  std::uint64_t size() const { return size_; }
  /// i < size().
  std::uint64_t operator()(std::uint64_t i) const;

 private:
  static constexpr int kRounds = 6;
  std::uint64_t size_;
  int half_bits_ = 0;  // 0: the identity
  std::array<std::uint64_t, kRounds> keys_{};
};

/// Scrambles all bits (the finaliser of SplitMix64).
std::uint64_t mix(std::uint64_t x);

}  // namespace weft::trainer::corpus

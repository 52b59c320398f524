#include "trainer/corpus/permutation.h"

#include <bit>

#include "base/rng.h"

namespace weft::trainer::corpus {

std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

Permutation::Permutation(std::uint64_t size, bool shuffle, std::uint64_t seed,
                         std::string_view purpose, std::uint64_t a, std::uint64_t b)
    : size_(size) {
  if (!shuffle || size < 2) return;
  half_bits_ = (std::bit_width(size - 1) + 1) / 2;
  Rng rng(seed, purpose, a, b);
  for (std::uint64_t& key : keys_) key = rng.next_u64();
}

std::uint64_t Permutation::operator()(std::uint64_t i) const {
  if (half_bits_ == 0) return i;
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  do {  // the domain is less than four times size_: a few rounds at most on average
    std::uint64_t left = i >> half_bits_, right = i & mask;
    for (const std::uint64_t key : keys_) {
      const std::uint64_t next = left ^ (mix(right ^ key) & mask);
      left = right;
      right = next;
    }
    i = left << half_bits_ | right;
  } while (i >= size_);
  return i;
}

}  // namespace weft::trainer::corpus

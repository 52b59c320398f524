// XXH3-128, the checksum of checkpoint files and pieces: it finds damage, not forgery.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/expected.h"

namespace weft::trainer::checkpoint {

struct Hash128 {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  friend bool operator==(const Hash128&, const Hash128&) = default;
};

/// 32 lower-case hexadecimal digits, high half first, as xxhsum prints it.
std::string to_hex(const Hash128& hash);
/// Errors: Corrupt unless `text` is exactly what to_hex writes.
Expected<Hash128> parse_hash(std::string_view text);

Hash128 hash_of(std::span<const std::byte> bytes);
Hash128 hash_of(std::string_view text);

/// The same hash over bytes that come in parts. Threads: one.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  void add(std::span<const std::byte> bytes);
  Hash128 digest() const;
  void reset();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace weft::trainer::checkpoint

// A copy that knows whether its destination will fit the caches. Internal to comm.
#pragma once

#include <cstddef>

namespace weft::comm {

/// Is a message of `bytes` in a group of `num_ranks` worth writing past the caches? When an
/// exchange of such messages among all would push everything else out of a third-level cache before
/// anybody reads it.
constexpr bool passes_caches(std::size_t bytes, int num_ranks) {
  constexpr std::size_t kLeast = std::size_t{512} << 10, kCache = std::size_t{32} << 20;
  const auto n = static_cast<std::size_t>(num_ranks);
  return bytes >= kLeast && bytes > kCache / (n * n);
}

/// The two do not overlap.
void copy_bytes(std::byte* to, const std::byte* from, std::size_t n);

/// The same past the caches, so that the old contents of `to` are not read from memory first: two
/// bytes of memory traffic for each byte copied instead of three. For parts of messages that
/// pass the caches.
void stream_bytes(std::byte* to, const std::byte* from, std::size_t n);

}  // namespace weft::comm

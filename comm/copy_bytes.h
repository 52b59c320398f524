// A copy that knows whether its destination will fit the caches. Internal to comm.
#pragma once

#include <cstddef>

namespace weft::comm {

/// From here on a message is worth writing past the caches: together with its neighbours it would
/// push everything else out before anybody reads it.
inline constexpr std::size_t kStreamBytes = std::size_t{2} << 20;

/// The two do not overlap.
void copy_bytes(std::byte* to, const std::byte* from, std::size_t n);

/// The same past the caches, so that the old contents of `to` are not read from memory first: two
/// bytes of memory traffic for each byte copied instead of three. For parts of messages of
/// kStreamBytes and more.
void stream_bytes(std::byte* to, const std::byte* from, std::size_t n);

}  // namespace weft::comm

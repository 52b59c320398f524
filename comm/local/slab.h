// The part of the shared memory in which one rank writes the messages that its peers read in place.
// Internal to comm/local.
#pragma once

#include <cstddef>
#include <map>

namespace weft::comm {

/// First fit over whole pages; what is given back returns to the system. Meant for buffers that
/// live long. Threads: one at a time.
class Slab {
 public:
  /// `begin` is the first byte of a page and not touched here.
  Slab(std::byte* begin, std::size_t bytes);

  /// Null: no room.
  std::byte* take(std::size_t bytes);
  /// `bytes` as asked for.
  void give_back(std::byte* memory, std::size_t bytes);

  bool holds(const std::byte* at) const { return at >= begin_ && at < begin_ + bytes_; }

 private:
  std::byte* begin_;
  std::size_t bytes_;
  std::map<std::size_t, std::size_t> free_;  // offset -> length, never two side by side
};

}  // namespace weft::comm

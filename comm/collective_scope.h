// One running collective: its own tag, so that it is never taken for a caller's message or for
// another collective, and the group's reused workspace. Internal to comm.
#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/communicator.h"

namespace weft::comm {

enum class Collective : std::uint8_t {
  barrier,
  broadcast,
  all_gather,
  all_gather_text,
  all_reduce,
  reduce,
  all_to_all,
  reduce_scatter
};

class CollectiveScope {
 public:
  /// No two-hop exchange may be open in the group: its messages would meet the collective's.
  CollectiveScope(Communicator& group, Collective kind);
  ~CollectiveScope() { --group_.collective_depth_; }
  CollectiveScope(const CollectiveScope&) = delete;
  CollectiveScope& operator=(const CollectiveScope&) = delete;

  Tag tag() const { return tag_; }

  /// At least `size` bytes, aligned for any number; valid until the next call.
  std::byte* scratch(std::size_t size) {
    if (group_.scratch_.size() < size) group_.scratch_.resize(size);
    return group_.scratch_.data();
  }

  void start_send(int to, ConstBytes data);
  void start_receive(int from, Bytes into);
  /// Waits for everything started; a message of another length than its buffer is Corrupt.
  Expected<void> wait_all();

 private:
  Communicator& group_;
  Tag tag_;
};

}  // namespace weft::comm

// Bytes that only grow and are not cleared, aligned for vector loads. Internal to comm.
#pragma once

#include <cstddef>

#include "comm/communicator.h"

namespace weft::comm {

class ByteBuffer {
 public:
  /// Room for `size` bytes; what was written before is lost when it has to grow.
  std::byte* at_least(std::size_t size) {
    if (size > capacity_) grow(size, heap_message_memory(size));
    return data_.get();
  }
  /// The same in memory from which `group` sends well.
  std::byte* at_least(std::size_t size, Communicator& group) {
    if (size > capacity_) {
      data_.reset();  // a grown buffer may take its place
      grow(size, group.message_memory(size));
    }
    return data_.get();
  }
  std::byte* data() const { return data_.get(); }
  std::size_t capacity() const { return capacity_; }

 private:
  void grow(std::size_t size, MessageMemory memory) {
    data_ = std::move(memory);
    capacity_ = size;
  }

  MessageMemory data_;
  std::size_t capacity_ = 0;
};

}  // namespace weft::comm

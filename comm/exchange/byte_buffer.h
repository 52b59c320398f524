// Bytes that only grow and are not cleared, aligned for vector loads. Internal to comm.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace weft::comm {

class ByteBuffer {
 public:
  /// Room for `size` bytes; what was written before is lost when it has to grow.
  std::byte* at_least(std::size_t size) {
    if (size > capacity_) {
      data_.reset(static_cast<std::byte*>(::operator new (size, std::align_val_t{64})));
      capacity_ = size;
    }
    return data_.get();
  }
  std::byte* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{64}); }
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t capacity_ = 0;
};

}  // namespace weft::comm

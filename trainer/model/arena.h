// Memory of one stage's activations: blocks of bytes that are handed from buffer to buffer, so that
// what one phase drops the next one uses, and exact counts of what is live.
#pragma once

#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "trainer/kernels/aligned.h"

namespace weft::trainer {

inline std::size_t elements(int rows, int columns) {
  return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
}

/// Never gives memory back to the system: it keeps what the largest moment needed, and a step that
/// repeats allocates nothing. Threads: one.
class Arena {
 public:
  struct Block {
    std::byte* data = nullptr;
    std::size_t size = 0;   // bytes
    std::size_t asked = 0;  // of these: what is counted as live
  };

  /// At least n bytes (at most an eighth more, or a free block of up to twice that), 64-byte
  /// aligned, contents undefined.
  Block take(std::size_t n);
  /// The block must have been taken here. Under the address sanitizer later use of it is an error.
  void give(Block block);

  /// Counts memory that belongs to the activations but lies elsewhere.
  void charge(std::size_t bytes);
  void discharge(std::size_t bytes) { live_ -= bytes; }

  std::size_t live_bytes() const { return live_; }
  std::size_t peak_bytes() const { return peak_; }
  /// The same of the blocks alone.
  std::size_t peak_taken_bytes() const { return peak_taken_; }
  std::size_t reserved_bytes() const { return reserved_; }

 private:
  // Eight sizes an octave from 256 bytes on.
  static constexpr std::size_t kSmallest = 256;
  static constexpr std::size_t kSteps = 8;
  struct Shelf {
    std::vector<Block> free;  // room for every block of the shelf: giving back never allocates
    std::size_t blocks = 0;
  };
  static std::pair<std::size_t, std::size_t> shelf_of(std::size_t n);  // index, size of its blocks

  std::array<Shelf, kSteps * 48> shelves_;
  std::vector<AlignedBytes> memory_;
  std::size_t live_ = 0, peak_ = 0, reserved_ = 0;
  std::size_t taken_ = 0, peak_taken_ = 0;
};

/// A place for numbers of any type: empty until asked for, empty again when dropped. The arena owns
/// the memory.
class AnyBuffer {
 public:
  AnyBuffer() = default;
  AnyBuffer(AnyBuffer&& other) noexcept : block_(std::exchange(other.block_, {})) {}
  AnyBuffer& operator=(AnyBuffer&& other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }

  void drop(Arena& arena) {
    if (block_.data != nullptr) arena.give(std::exchange(block_, {}));
  }
  bool held() const { return block_.data != nullptr; }
  std::size_t bytes() const { return block_.asked; }

 protected:
  Arena::Block block_;
};

/// The same for numbers of type T.
template <class T>
class Buffer : public AnyBuffer {
 public:
  /// At least n numbers; contents survive only while not grown.
  T* get(Arena& arena, std::size_t n) {
    if (block_.data == nullptr || block_.size < n * sizeof(T)) {
      drop(arena);
      block_ = arena.take(n * sizeof(T));
    }
    return data();
  }
  T* data() { return reinterpret_cast<T*>(block_.data); }
  const T* data() const { return reinterpret_cast<const T*>(block_.data); }
};

}  // namespace weft::trainer

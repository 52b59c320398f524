// Memory of one stage's activations: blocks that are handed from buffer to buffer, so that what one
// phase drops the next one uses, and exact counts of what is live.
#pragma once

#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "trainer/kernels/aligned.h"
#include "trainer/real.h"

namespace weft::trainer {

/// Never gives memory back to the system: it keeps what the largest moment needed, and a step that
/// repeats allocates nothing. Threads: one.
class Arena {
 public:
  struct Block {
    Real* data = nullptr;
    std::size_t size = 0;   // elements
    std::size_t asked = 0;  // of these: what is counted as live
  };

  /// At least n elements (at most an eighth more, or a free block of up to twice that), 64-byte
  /// aligned, contents undefined.
  Block take(std::size_t n);
  /// The block must have been taken here. Under the address sanitizer later use of it is an error.
  void give(Block block);

  /// Counts memory that belongs to the activations but lies elsewhere.
  void charge(std::size_t bytes);
  void discharge(std::size_t bytes) { live_ -= bytes; }

  std::size_t live_bytes() const { return live_; }
  std::size_t peak_bytes() const { return peak_; }
  std::size_t reserved_bytes() const { return reserved_; }
  void reset_peak() { peak_ = live_; }

 private:
  // Eight sizes an octave from 64 elements on.
  static constexpr std::size_t kSmallest = 64;
  static constexpr std::size_t kSteps = 8;
  struct Shelf {
    std::vector<Block> free;  // room for every block of the shelf: giving back never allocates
    std::size_t blocks = 0;
  };
  static std::pair<std::size_t, std::size_t> shelf_of(std::size_t n);  // index, size of its blocks

  std::array<Shelf, kSteps * 48> shelves_;
  std::vector<AlignedVector> memory_;
  std::size_t live_ = 0, peak_ = 0, reserved_ = 0;
};

/// A place for numbers: empty until asked for, empty again when dropped. The arena owns the memory.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept : block_(std::exchange(other.block_, {})) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }

  /// At least n elements; contents survive only while not grown.
  Real* get(Arena& arena, std::size_t n) {
    if (block_.data == nullptr || block_.size < n) {
      drop(arena);
      block_ = arena.take(n);
    }
    return block_.data;
  }
  void drop(Arena& arena) {
    if (block_.data != nullptr) arena.give(std::exchange(block_, {}));
  }
  bool held() const { return block_.data != nullptr; }
  Real* data() { return block_.data; }
  const Real* data() const { return block_.data; }
  std::size_t bytes() const { return block_.asked * sizeof(Real); }

 private:
  Arena::Block block_;
};

}  // namespace weft::trainer

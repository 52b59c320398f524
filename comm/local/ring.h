// A byte ring in shared memory with one writer and one reader, and the messages in it. Positions
// only grow; each side keeps its own and publishes it. What the other side publishes is input and
// checked. Internal to comm/local.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "comm/copy_bytes.h"

namespace weft::comm {

/// Everything in a ring starts at a multiple of this, so that a header never wraps around.
inline constexpr std::size_t kRingUnit = 32;

struct MessageHeader {
  std::uint64_t magic;
  std::uint64_t tag;
  std::uint64_t length;
  std::uint32_t sequence;   // counts the messages of this pair, modulo 2^32
  std::uint32_t check = 0;  // message_check of its bytes; 0: none was made
};
static_assert(sizeof(MessageHeader) == kRingUnit);
inline constexpr std::uint64_t kMessageMagic = 0x6d7367'74666577;  // "weftmsg"
/// The bytes are not in the ring: behind the header stands where they are in the writer's memory.
inline constexpr std::uint64_t kDirectMagic = 0x726964'74666577;  // "weftdir"

/// The same, and the place is in the shared memory, in the writer's slab.
inline constexpr std::uint64_t kSlabMagic = 0x626c73'74666577;  // "weftslb"

struct DirectPlace {
  std::uint64_t address;  // in the writer's process, or an offset in the shared memory
  std::uint64_t unused[3];
};
static_assert(sizeof(DirectPlace) == kRingUnit);

struct RingControl {
  // By the writer. Once withdrawn, what it pointed at may have changed: nobody may use it any more.
  alignas(64) std::atomic<std::uint64_t> written;
  std::atomic<std::uint32_t> withdrawn;
  // By the reader.
  alignas(64) std::atomic<std::uint64_t> read;
  std::atomic<std::uint64_t> fetched;  // direct messages, so far
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && sizeof(RingControl) == 128);

constexpr std::size_t round_up_to_unit(std::size_t n) {
  return (n + kRingUnit - 1) / kRingUnit * kRingUnit;
}

/// One side of a ring. `capacity` is a power of two.
class RingEnd {
 public:
  RingEnd() = default;
  RingEnd(std::byte* memory, std::size_t capacity)
      : control_(reinterpret_cast<RingControl*>(memory)),
        data_(memory + sizeof(RingControl)),
        capacity_(capacity) {}

  std::uint64_t sequence = 0;  // of the next message
  /// Has anything ever gone through it, on this side?
  bool used() const { return position_ > 0; }
  std::size_t memory_bytes() const { return sizeof(RingControl) + capacity_; }
  std::size_t unpublished() const { return static_cast<std::size_t>(position_ - published_); }

 protected:
  template <class Copy>
  void in_pieces(std::size_t n, Copy copy) {
    const std::size_t at = position_ & (capacity_ - 1);
    const std::size_t first = std::min(n, capacity_ - at);
    if (first > 0) copy(data_ + at, 0, first);
    if (n > first) copy(data_, first, n - first);
  }

  RingControl* control_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t capacity_ = 0;
  std::uint64_t position_ = 0;   // ours
  std::uint64_t published_ = 0;  // of it, what the other side was told
  std::uint64_t other_ = 0;      // theirs, as last seen
};

class RingWriter : public RingEnd {
 public:
  using RingEnd::RingEnd;

  /// Direct messages that the reader has fetched. Never more than were sent, or it is nonsense.
  std::uint64_t fetched() const { return control_->fetched.load(std::memory_order_seq_cst); }
  /// What direct messages point at is about to change.
  void withdraw() { control_->withdrawn.store(1, std::memory_order_seq_cst); }
  std::uint64_t num_direct = 0;  // sent

  /// Free bytes, a multiple of the unit; looks at the reader's position only when fewer than
  /// `wanted` were known to be free. False: the reader's position is nonsense.
  bool room(std::size_t wanted, std::size_t& free) {
    if (capacity_ - (position_ - other_) < std::min(wanted, capacity_)) {
      other_ = control_->read.load(std::memory_order_seq_cst);
      if (position_ - other_ > capacity_ || other_ % kRingUnit != 0) return false;
    }
    free = capacity_ - static_cast<std::size_t>(position_ - other_);
    return true;
  }

  /// `n` bytes, then as many as fill the unit. There must be room.
  void write(const void* from, std::size_t n) {
    in_pieces(n, [&](std::byte* to, std::size_t offset, std::size_t count) {
      std::memcpy(to, static_cast<const std::byte*>(from) + offset, count);
    });
    position_ += round_up_to_unit(n);
  }

  bool publish() {
    if (published_ == position_) return false;
    published_ = position_;
    control_->written.store(position_, std::memory_order_seq_cst);
    return true;
  }
};

class RingReader : public RingEnd {
 public:
  using RingEnd::RingEnd;

  bool withdrawn() const { return control_->withdrawn.load(std::memory_order_seq_cst) != 0; }
  /// The writer may have the memory of its oldest direct message back.
  void fetched_one() { control_->fetched.fetch_add(1, std::memory_order_seq_cst); }

  /// As RingWriter::room, for bytes that can be read.
  bool ready(std::size_t wanted, std::size_t& bytes) {
    if (other_ - position_ < wanted) {
      other_ = control_->written.load(std::memory_order_seq_cst);
      if (other_ - position_ > capacity_ || other_ % kRingUnit != 0) return false;
    }
    bytes = static_cast<std::size_t>(other_ - position_);
    return true;
  }

  /// `copy` is copy_bytes or stream_bytes.
  template <class Copy>
  void read(std::byte* to, std::size_t n, Copy copy) {
    in_pieces(n, [&](const std::byte* from, std::size_t offset, std::size_t count) {
      copy(to + offset, from, count);
    });
    position_ += round_up_to_unit(n);
  }

  bool publish() {
    if (published_ == position_) return false;
    published_ = position_;
    control_->read.store(position_, std::memory_order_seq_cst);
    return true;
  }
};

}  // namespace weft::comm

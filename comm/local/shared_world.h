// What the processes of one host share: a sparse anonymous file, mapped whole by each. Pages that
// nobody touches cost nothing, so every group's region has its place from the start and nothing is
// ever grown or remapped. Internal to comm/local.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "comm/local/direct_read.h"
#include "comm/local/doorbell.h"
#include "comm/local/local_transport.h"
#include "comm/local/ring.h"

namespace weft::comm {

inline constexpr std::uint64_t kWorldMagic = 0x31646c72'6f777477;  // "wtworld1"
/// Regions of groups, then a slab for each rank.
inline constexpr std::uint64_t kRegionsBytes = std::uint64_t{64} << 30;
inline constexpr std::uint64_t kSlabsBytes = std::uint64_t{64} << 30;
inline constexpr std::uint64_t kWorldBytes = kRegionsBytes + kSlabsBytes;
inline constexpr int kWorldSizeMax = 1024;
inline constexpr int kGroupsMax = 4096;

/// The first process to name a group fills its slot; the others compare.
struct GroupSlot {
  static constexpr std::uint32_t kEmpty = 0, kFilling = 1, kFilled = 2;
  std::atomic<std::uint32_t> state;
  std::uint32_t named_by;
  std::uint32_t num_ranks;
  std::uint32_t text_length;
  std::uint64_t fingerprint;
  std::uint64_t offset;  // of its region
  char text[224];        // "name {0, 1}", perhaps cut
};
static_assert(sizeof(GroupSlot) == 256);

struct WorldHeader {
  static constexpr std::uint32_t kRunning = 0, kAborting = 1, kAborted = 2;
  std::uint64_t magic;
  std::uint64_t bytes;
  std::uint32_t world_size;
  alignas(64) std::atomic<std::uint32_t> abort_state;
  std::uint32_t reason_length;
  char reason[1016];
  std::atomic<std::uint32_t> joined[kWorldSizeMax];
  Doorbell bells[kWorldSizeMax];  // by world rank
  RankCard creator;               // for joining ranks to try whether they may read it
  RankCard cards[kWorldSizeMax];  // by world rank
  GroupSlot groups[kGroupsMax];
};

/// The region of a group of n: n * n rings (writer, reader).
struct GroupRegion {
  std::size_t num_ranks, ring_capacity;

  explicit GroupRegion(std::size_t n) : num_ranks(n), ring_capacity(capacity_for(n)) {}
  std::size_t ring_offset(int writer, int reader) const {
    return (static_cast<std::size_t>(writer) * num_ranks + static_cast<std::size_t>(reader)) *
           ring_bytes();
  }
  std::size_t bytes() const { return (num_ranks * num_ranks * ring_bytes() + 4095) / 4096 * 4096; }

 private:
  std::size_t ring_bytes() const { return sizeof(RingControl) + ring_capacity; }
  /// The rings of a group together stay well inside a third-level cache: an exchange among all
  /// uses all of them over and over, and one that did not fit would cross the memory bus twice
  /// more.
  static constexpr std::size_t capacity_for(std::size_t n) {
    constexpr std::size_t kKiB = 1024;
    return n <= 2 ? 1024 * kKiB : n <= 4 ? 256 * kKiB : n <= 16 ? 128 * kKiB : 64 * kKiB;
  }
};

struct LocalWorld::Mapping {
  int descriptor = -1;
  bool owns_descriptor = false;
  std::uint64_t nonce = 0;  // the creator's own
  std::byte* memory = nullptr;

  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  WorldHeader& header() const { return *reinterpret_cast<WorldHeader*>(memory); }
  /// The part of the memory that `world_rank` alone writes: messages that peers read in place.
  std::uint64_t slab_bytes() const { return kSlabsBytes / header().world_size / 4096 * 4096; }
  std::uint64_t slab_offset(int world_rank) const {
    return kRegionsBytes + slab_bytes() * static_cast<std::uint64_t>(world_rank);
  }
  static std::uint64_t first_region() { return (sizeof(WorldHeader) + 4095) / 4096 * 4096; }

  void abort(std::string_view reason);
  bool aborted() const {
    return header().abort_state.load(std::memory_order_seq_cst) == WorldHeader::kAborted;
  }
  std::string abort_reason() const;
};

}  // namespace weft::comm

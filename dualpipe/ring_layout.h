// The bytes of a ring of recorded steps, shared by its writer (recorder.cpp) and its reader
// (ring.cpp). Native byte order; a page for the header, then the table of steps, then the records.
// Internal to the room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "dualpipe/record.h"
#include "dualpipe/recorder.h"

namespace weft::dualpipe::ring {

constexpr char kMagic[8] = {'w', 'e', 'f', 't', 'r', 'i', 'n', 'g'};
constexpr std::uint32_t kVersion = 2;
constexpr std::size_t kHeaderBytes = 4096;

/// Written once, before the magic.
struct Fixed {
  char magic[8];
  std::uint32_t version;
  std::uint32_t record_bytes;
  std::uint64_t record_capacity;
  std::uint64_t step_slots;
  RingInfo info;
};
static_assert(std::is_trivially_copyable_v<Fixed>);

/// Changes all the time; every word is an atomic of its own.
struct Live {
  std::uint64_t cursor;  // records ever written; record n lies at n % record_capacity
  std::uint64_t steps;   // steps ever opened; step n has slot n % step_slots
  std::uint64_t here[sizeof(Here) / 8];
};
constexpr std::size_t kLiveOffset = 1024;
static_assert(sizeof(Fixed) <= kLiveOffset && kLiveOffset + sizeof(Live) <= kHeaderBytes);

/// A step's place in the table. `seal`: 0 while the slot is being filled, 2n + 1 while step n of
/// the ring is open, 2n + 2 once it is closed.
struct StepSlot {
  std::uint64_t seal;
  std::int64_t step;
  std::int64_t begin_ns;
  std::int64_t end_ns;
  std::uint64_t first;  // its records are first .. first + count - 1
  std::uint64_t count;
  char stage[16];
};
static_assert(sizeof(StepSlot) == 64 && std::is_trivially_copyable_v<StepSlot>);

}  // namespace weft::dualpipe::ring

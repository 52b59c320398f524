// Reading a ring of recorded steps: of a living run, of one that hangs, of a worker that was
// killed. Its bytes are input and nothing in them is trusted.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/expected.h"
#include "dualpipe/record.h"
#include "dualpipe/recorder.h"
#include "dualpipe/schedule.h"

namespace weft::dualpipe {

/// One rank's recording of one step.
struct RecordedStep {
  long long step = 0;
  std::string stage;  // of the recipe
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;      // open: the end of the last record
  bool closed = false;          // false: it was still going on
  std::uint64_t missing = 0;    // records that newer ones had overwritten already
  std::uint64_t damaged = 0;    // records left out because they make no sense
  std::vector<Record> records;  // in the order of their ends
};

struct RankRecording {
  RingInfo info;
  Kind kind = Kind::OneFOneB;
  Here here;
  std::vector<RecordedStep> steps;  // in the order recorded
  std::size_t bytes = 0;            // of the ring
};

/// `ring`: the whole ring. `later`: its first ring_head_bytes(ring) bytes (or all of it), read once
/// more afterwards: what the writer may have changed in between is left out or counted as missing.
/// For a ring that nobody writes any more both may be the same.
/// Errors: Corrupt, with what does not fit.
Expected<RankRecording> read_ring(std::span<const std::byte> ring,
                                  std::span<const std::byte> later);

/// How much of the beginning `later` needs; 0 when this is no ring.
std::size_t ring_head_bytes(std::span<const std::byte> ring);

/// Who stands where: the ring's first page alone.
struct RankHere {
  RingInfo info;
  Kind kind = Kind::OneFOneB;
  Here here;
};
constexpr std::size_t kRingPage = 4096;
/// `page`: the ring's first kRingPage bytes. Errors: Corrupt.
Expected<RankHere> read_here(std::span<const std::byte> page);

}  // namespace weft::dualpipe

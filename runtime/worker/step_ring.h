// A worker's flight recorder: its ring file in the run directory, opened in one way by everything
// that runs steps.
#pragma once

#include <filesystem>
#include <memory>

#include "base/clock.h"
#include "dualpipe/recorder.h"
#include "runtime/store/ring_file.h"
#include "scheduler/placement.h"

namespace weft::runtime {

class Reporter;

/// Who records, and by which schedule.
dualpipe::RingInfo ring_info(const scheduler::Layout& layout, const scheduler::RankPlace& place);

struct StepRingOptions {
  std::filesystem::path directory;  // empty: nothing is recorded
  int attempt = 0;
  int steps = 0;            // 0: nothing is recorded
  std::size_t records = 0;  // that one step writes at most
};

/// Null when nothing is to be recorded, or when the file could not be made: a run without its
/// recorder is better than none. The reason then goes to the log, on rank 0 as a warning event.
std::unique_ptr<RingFile> open_step_ring(const StepRingOptions& options, dualpipe::RingInfo info,
                                         Reporter& reporter, const Clock& clock);

}  // namespace weft::runtime

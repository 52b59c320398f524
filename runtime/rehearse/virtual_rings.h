// Flight-recorder rings of a rehearsal: what the ranks of the first replica would have recorded in
// their last steps, off the timeline, so that weft trace draws it.
#pragma once

#include <filesystem>
#include <vector>

#include "base/clock.h"
#include "runtime/rehearse/step_model.h"
#include "scheduler/placement.h"

namespace weft::runtime {

struct VirtualStepTimes {
  long long step = 0;
  Instant begin{};
  double seconds = 0;
};

/// traces/rank-NNNN.ring of lane 0's ranks. `start`: the wall time of Instant{}. Errors: Io.
Expected<void> write_virtual_rings(const std::filesystem::path& directory,
                                   const scheduler::Layout& layout, const StepModel& model,
                                   const std::vector<VirtualStepTimes>& steps,
                                   const std::string& stage, int attempt, WallTime start);

}  // namespace weft::runtime

// device: virtual. What a worker does in place of a recipe: so many steps of the real executor over
// stages that take time and compute nothing.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>

#include "base/clock.h"
#include "runtime/job/job.h"
#include "runtime/worker/recipe.h"
#include "runtime/worker/virtual_rank.h"

namespace weft::runtime {

/// Where a job's virtual.* and parallel.* lead.
VirtualOptions virtual_options(const Job& job);

/// One step as metrics: step, stage, step_seconds, makespan_seconds and predicted_makespan_seconds,
/// busy, bubble and predicted bubble (mean, and a number a rank), late_seconds (sum of all late
/// wake-ups) and, where there are exchanges, the hidden share of them, of the whole step and in
/// overlapped pairs, each with its prediction. `lanes`: ranks of one pipeline position.
nlohmann::json virtual_record(long long number, const VirtualStep& step, const VirtualPlan& plan,
                              int lanes);

/// Collective. Runs virtual.steps steps, or fewer when some rank is asked to stop, and reports each
/// on rank 0: its makespan and bubble beside the predicted ones. Writes no checkpoint; a run that
/// is resumed begins again. Of `options`: stop_requested, traces and attempt. Errors: those of
/// VirtualRank.
Expected<RecipeEnd> run_virtually(const Job& job, comm::Transport& transport,
                                  const RecipeOptions& options, Reporter& reporter, Clock& clock);

}  // namespace weft::runtime

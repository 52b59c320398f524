// Judging a step: are its numbers a spike, or wrong, and is a rank slower than its peers?
#pragma once

#include <vector>

#include "runtime/watch/stragglers.h"
#include "runtime/worker/recipe_run.h"
#include "runtime/worker/step_outcome.h"

namespace weft::runtime {

/// Above what the next update is left out: watch.spike_factor times the medians of the stage's last
/// updates. Nothing is a spike before there are enough of them to compare with.
StepLimits step_limits(const WatchJob& watch, const RecipeState& state);
/// Keeps an applied update's numbers for that.
void remember_update(const WatchJob& watch, RecipeState& state, const TrainResult& result);

/// A rank that computed wrong without noticing: says who. Errors: Corrupt, where the run may not go
/// on with it (watch.on_corruption).
Expected<void> judge_numbers(RecipeRun& run, const StepOutcome& outcome);
/// Says why an update was left out, if it was.
void tell_left_out(RecipeRun& run, const StepOutcome& outcome);

/// Rank 0's eye on who is slow. Threads: the worker's.
class SpeedWatch {
 public:
  /// Another stage's steps are not compared with these.
  void begin_stage() { stragglers_ = {}; }
  /// Are there ranks that are slower than their peers, or than they were?
  void look(RecipeRun& run, StepOutcome& outcome);

 private:
  StragglerState stragglers_;
  std::vector<int> peers_;
};

}  // namespace weft::runtime

// Saving a run: when it is due, what was begun, what it cost.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "runtime/worker/checkpoint_pace.h"
#include "runtime/worker/recipe_run.h"

namespace weft::runtime {

/// What a save of the run as it is now says of it; into checkpoints, by the job's rules.
Engine::SaveInfo save_info(const RecipeRun& run);

/// Threads: the worker's.
class RecipeSaves {
 public:
  /// Of a run that has been opened; it must outlive this.
  explicit RecipeSaves(RecipeRun& run);

  /// Rank 0: is the step that comes to be saved? The step's sum tells the others.
  void before_step();
  /// Is the state as it is now begun to be saved?
  bool has_saved() const { return saved_step_ == run_.state.step; }
  /// Begins to save it; waits until it is where saves are not asynchronous. Collective.
  Expected<void> save(const std::string& why);
  /// Saves what the last step put aside for it, if it did. Collective.
  Expected<void> save_snapshot();
  /// Waits until all is saved that was begun. Collective.
  Expected<void> finish();
  /// Reports what is saved by now. Never waits.
  Expected<void> take_finished();
  /// A step took so long: the interval may change, and what saves cost goes into the record.
  void after_step(double step_seconds, nlohmann::json& record);

 private:
  struct Begun {
    std::string why;
    std::int64_t request = 0;  // that it answers; 0: none
  };
  bool is_asked(long long step) const { return asked_.id > answered_ && step >= asked_.at_step; }
  void report(const std::vector<Engine::Saved>& saved);

  RecipeRun& run_;
  CheckpointPace pace_;                // rank 0's says when
  long long saved_step_ = -1;          // begun to be saved
  std::map<long long, Begun> saving_;  // by step
  SaveRequest asked_;                  // rank 0: the newest request
  std::int64_t answered_ = 0;          // by a save that was begun
  double stall_seconds_ = 0;           // for saves, since a step was last reported
  double write_seconds_ = 0;           // of the saves that ended since then
};

}  // namespace weft::runtime

// One stage of a recipe: its steps, and how well what it has made does.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "runtime/job/course.h"
#include "runtime/worker/recipe_run.h"
#include "runtime/worker/step_outcome.h"

namespace weft::runtime {

/// Of the stage that run.state stands in. Threads: the worker's.
class RecipeStage {
 public:
  /// `run` must outlive it. Errors: InvalidArgument, as course_of().
  static Expected<RecipeStage> open(RecipeRun& run);

  int max_steps() const;
  int eval_every() const;
  double target_accuracy() const;  // 0: none
  /// Before its first step: moments begin anew; before reinforcement learning the model so far is
  /// kept as the reference and evaluated. Collective.
  Expected<void> begin();
  /// The next step; the caller counts it. Collective.
  Expected<StepOutcome> step();
  /// evaluate_problems, evaluate_text or evaluate_files, as the data are. Collective.
  Expected<nlohmann::json> evaluate();

 private:
  enum class Kind { Pretrain, ColdStart, Grpo };
  RecipeStage(RecipeRun& run, Kind kind) : run_(&run), kind_(kind) {}
  const SupervisedJob& supervised() const;
  Expected<StepOutcome> supervised_step();
  Expected<StepOutcome> grpo_step();
  Expected<nlohmann::json> evaluate_loss();

  RecipeRun* run_;
  Kind kind_;
  std::optional<Course> course_;  // grpo has none
};

}  // namespace weft::runtime

#include "runtime/worker/recipe.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/units.h"
#include "runtime/worker/evaluate.h"
#include "runtime/worker/expert_report.h"
#include "runtime/worker/fault.h"
#include "runtime/worker/recipe_copies.h"
#include "runtime/worker/recipe_numbers.h"
#include "runtime/worker/recipe_saves.h"
#include "runtime/worker/recipe_stage.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

class Walker final : public Recipe {
 public:
  Walker(const Job& job, RecipeOptions options, Reporter& reporter, const Clock& clock)
      : run_{job, std::move(options), reporter, clock} {}

  Expected<void> open(comm::Transport& transport) {
    WEFT_TRY(open_run(run_, transport));
    saves_.emplace(run_);
    return copies_.open();
  }
  Expected<RecipeEnd> run() override;
  const RecipeState& state() const override { return run_.state; }
  Engine& engine() override { return *run_.engine; }

 private:
  enum class StageEnd { Complete, CompleteAndStopped, Stopped };
  Expected<StageEnd> run_stage();
  Expected<StepOutcome> step(RecipeStage& stage);
  Expected<bool> evaluate_if_due(RecipeStage& stage, StepOutcome& outcome);
  void report_step(StepOutcome& outcome);

  RecipeRun run_;
  std::optional<RecipeSaves> saves_;  // once opened
  RecipeCopies copies_{run_};
  SpeedWatch speed_;
  ExpertReport experts_{run_.job};  // rank 0's
  double step_seconds_ = 0;  // of the last step
};

Expected<RecipeEnd> Walker::run() {
  RecipeState& state = run_.state;
  while (run_.has_stage()) {
    WEFT_TRY_ASSIGN(const StageEnd end, run_stage());
    if (end == StageEnd::Stopped) {
      if (!saves_->has_saved()) WEFT_TRY(saves_->save("stopped"));
      WEFT_TRY(saves_->finish());
      return RecipeEnd::Stopped;
    }
    ++state.stage;
    state.stage_step = 0;
    state.samples = 0;
    WEFT_TRY(saves_->save("end of " + run_.job.recipe[state.stage - 1]));
    if (end == StageEnd::CompleteAndStopped && run_.has_stage()) {
      WEFT_TRY(saves_->finish());
      return RecipeEnd::Stopped;
    }
  }
  WEFT_TRY(saves_->finish());
  return RecipeEnd::Complete;
}

Expected<Walker::StageEnd> Walker::run_stage() {
  WEFT_TRY_ASSIGN(RecipeStage stage, RecipeStage::open(run_));
  if (run_.state.stage_step == 0) {
    speed_.begin_stage();
    WEFT_TRY(stage.begin());
  }
  while (run_.state.stage_step < stage.max_steps()) {
    WEFT_TRY_ASSIGN(StepOutcome outcome, step(stage));
    WEFT_TRY_ASSIGN(const bool reached, evaluate_if_due(stage, outcome));
    WEFT_TRY(saves_->take_finished());
    report_step(outcome);
    // The end of a stage is saved as such, also when it is asked to stop there: a resumed run must
    // not go on in a stage whose target was reached.
    if (reached || run_.state.stage_step == stage.max_steps())
      return outcome.stop ? StageEnd::CompleteAndStopped : StageEnd::Complete;
    WEFT_TRY(saves_->save_snapshot());
    copies_.after_step();
    if (outcome.stop) return StageEnd::Stopped;
  }
  return StageEnd::Complete;
}

Expected<StepOutcome> Walker::step(RecipeStage& stage) {
  RecipeState& state = run_.state;
  const Instant begin = run_.clock.now();
  saves_->before_step();
  copies_.before_step();
  run_.reporter.moved(Reporter::Moved::Stepping, state.step, 0);
  if (run_.ring) run_.ring->recorder().begin_step(state.step + 1, run_.stage_name());
  fault_step(state.step + 1);
  WEFT_TRY_ASSIGN(StepOutcome outcome, stage.step());
  if (run_.ring) run_.ring->recorder().end_step();
  ++state.step;
  ++state.stage_step;
  state.tokens += outcome.tokens;
  step_seconds_ = seconds(run_.clock.now() - begin);
  run_.reporter.moved(Reporter::Moved::Stepping, state.step, step_seconds_);
  WEFT_TRY(judge_numbers(run_, outcome));
  speed_.look(run_, outcome);
  return outcome;
}

/// Returns whether the stage's target is reached.
Expected<bool> Walker::evaluate_if_due(RecipeStage& stage, StepOutcome& outcome) {
  const RecipeState& state = run_.state;
  const int every = stage.eval_every();
  const bool last = state.stage_step == stage.max_steps();
  if (!last && (every <= 0 || state.stage_step % every != 0)) return false;
  run_.reporter.moved(Reporter::Moved::Other, state.step, step_seconds_);
  WEFT_TRY_ASSIGN(const json scores, stage.evaluate());
  outcome.record->update(scores);
  run_.event("evaluation",
             "step " + std::to_string(state.step) + ": " + describe_evaluation(scores), scores);
  const double target = stage.target_accuracy();
  const bool reached = target > 0 && scores.value("eval_accuracy", 0.0) >= target;
  if (last && target > 0 && !reached)
    run_.event("warning", run_.stage_name() + " ended below its target accuracy of " +
                              std::to_string(target) + "; raise " + run_.stage_name() + ".steps");
  return reached;
}

void Walker::report_step(StepOutcome& outcome) {
  const RecipeState& state = run_.state;
  json record = {{"step", state.step},
                 {"stage", run_.stage_name()},
                 {"stage_step", state.stage_step},
                 {"tokens", state.tokens},
                 {"tokens_per_second", static_cast<double>(outcome.tokens) / step_seconds_},
                 {"step_seconds", step_seconds_},
                 {"applied", outcome.applied}};
  saves_->after_step(step_seconds_, record);
  copies_.add_cost(record);
  if (!run_.reports()) return;  // a GRPO step's numbers are rank 0's alone
  record.update(*outcome.record);
  if (outcome.tries > 1) record["tries"] = outcome.tries;
  tell_left_out(run_, outcome);
  run_.reporter.metrics(record);
  if (!outcome.applied) return;
  if (const auto said = experts_.stepped(state.step, outcome.expert_load, step_seconds_))
    run_.event(said->kind, said->message, *said->details);
}

}  // namespace

Expected<std::unique_ptr<Recipe>> Recipe::open(const Job& job, comm::Transport& transport,
                                               RecipeOptions options, Reporter& reporter,
                                               const Clock& clock) {
  auto walker = std::make_unique<Walker>(job, std::move(options), reporter, clock);
  WEFT_TRY(walker->open(transport));
  return walker;
}

}  // namespace weft::runtime

#include "runtime/worker/recipe_stage.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/worker/evaluate.h"
#include "runtime/worker/grpo_step.h"
#include "runtime/worker/recipe_numbers.h"

namespace weft::runtime {

using nlohmann::json;
using trainer::MicroBatch;

Expected<RecipeStage> RecipeStage::open(RecipeRun& run) {
  const std::string& name = run.stage_name();
  const Kind kind = name == "pretrain"     ? Kind::Pretrain
                    : name == "cold_start" ? Kind::ColdStart
                                           : Kind::Grpo;
  RecipeStage stage(run, kind);
  if (kind != Kind::Grpo) {
    WEFT_TRY_ASSIGN(stage.course_, course_of(stage.supervised(), sequence_tokens(run.job)));
  }
  return stage;
}

const SupervisedJob& RecipeStage::supervised() const {
  return kind_ == Kind::Pretrain ? run_->job.pretrain : run_->job.cold_start;
}

int RecipeStage::max_steps() const {
  return kind_ == Kind::Grpo ? run_->job.grpo.steps : supervised().steps;
}

int RecipeStage::eval_every() const {
  return kind_ == Kind::Grpo ? run_->job.grpo.eval_every : supervised().eval_every;
}

double RecipeStage::target_accuracy() const {
  return kind_ == Kind::Grpo ? run_->job.grpo.target_accuracy : supervised().target_accuracy;
}

Expected<void> RecipeStage::begin() {
  RecipeRun& run = *run_;
  run.engine->reset_moments();
  run.state.adam_step = 0;
  run.state.recent_loss.clear();
  run.state.recent_norm.clear();
  run.event("stage", "begins " + run.stage_name(),
            {{"step", run.state.step}, {"stage", run.stage_name()}});
  if (kind_ != Kind::Grpo) return {};
  run.reporter.moved(Reporter::Moved::Other, run.state.step, 0);
  if (run.job.grpo.beta > 0) run.engine->freeze_reference();
  WEFT_TRY_ASSIGN(const json scores, evaluate());
  run.event("evaluation", "before reinforcement learning: " + describe_evaluation(scores), scores);
  return {};
}

Expected<StepOutcome> RecipeStage::step() {
  return kind_ == Kind::Grpo ? grpo_step() : supervised_step();
}

Expected<StepOutcome> RecipeStage::supervised_step() {
  RecipeRun& run = *run_;
  const long long step = run.state.stage_step;
  const BatchRequest request{step, run.state.samples, course_->plan.batch(step),
                             run.engine->num_micro_batches(),
                             [&](int i) { return run.engine->needs(i); }};
  WEFT_TRY_ASSIGN(std::vector<MicroBatch> batch, kind_ == Kind::Pretrain
                                                     ? run.workload->pretrain_batch(request)
                                                     : run.workload->cold_start_batch(request));
  const double lr = course_->learning_rate(step);
  const double mtp_weight =
      run.job.model.num_nextn_predict_layers == 0 ? 0.0 : course_->next_token_weight(step);
  for (MicroBatch& part : batch) part.next_token_weight = static_cast<float>(mtp_weight);
  WEFT_TRY_ASSIGN(
      const TrainResult result,
      run.engine->train(batch, lr, run.state.adam_step + 1, run.options.stop_requested(),
                        step_limits(run.job.watch, run.state)));
  remember_update(run.job.watch, run.state, result);
  StepOutcome outcome;
  outcome.applied = result.applied;
  outcome.finite = std::isfinite(result.loss) && std::isfinite(result.grad_norm);
  outcome.tries = result.tries;
  outcome.corruption = result.corruption;
  if (result.applied) ++run.state.adam_step;
  outcome.stop = result.stop_requested;
  outcome.expert_load = result.expert_load;
  for (const MicroBatch& part : batch) outcome.tokens += part.sequence_begin.back();
  run.state.samples += request.sequences;
  outcome.record = std::make_unique<json>();
  json& record = *outcome.record;
  record = {{"loss", result.loss},
            {"lr", lr},
            {"grad_norm", result.grad_norm},
            {"entropy", result.entropy}};
  if (run.job.model.aux_loss_alpha > 0) record["balance_loss"] = result.balance_loss;
  for (std::size_t k = 0; k < result.next_token_loss.size(); ++k)
    record["mtp_loss/" + std::to_string(k + 1)] = result.next_token_loss[k];
  if (!result.next_token_loss.empty()) record["mtp_weight"] = mtp_weight;
  return outcome;
}

Expected<StepOutcome> RecipeStage::grpo_step() {
  RecipeRun& run = *run_;
  GrpoStep step{run.job,      *run.workload, *run.engine, run.state, run.options.stop_requested(),
                run.reports()};
  WEFT_TRY_ASSIGN(GrpoStep::Result result, step.run());
  StepOutcome outcome;
  outcome.stop = result.stop;
  outcome.tokens = result.tokens;
  outcome.applied = result.applied;
  outcome.finite = result.applied;
  outcome.tries = result.tries;
  outcome.corruption = result.corruption;
  outcome.record = std::move(result.record);
  if (run.reports()) run.reporter.samples(run.state.step + 1, result.samples);
  return outcome;
}

Expected<json> RecipeStage::evaluate() {
  RecipeRun& run = *run_;
  if (!run.workload->has_problems()) return evaluate_loss();
  Evaluation evaluation;
  evaluation.step = run.state.step;
  evaluation.max_new_tokens =
      kind_ == Kind::Grpo ? run.job.grpo.max_completion_length : run.workload->longest_trace();
  evaluation.problems =
      kind_ == Kind::Grpo ? run.job.grpo.eval_problems : supervised().eval_problems;
  evaluation.difficulty = kind_ == Kind::Grpo ? 0 : supervised().eval_difficulty;
  return evaluate_problems(run.job, *run.workload, *run.engine, evaluation);
}

Expected<json> RecipeStage::evaluate_loss() {
  RecipeRun& run = *run_;
  const auto losses = [&]() -> Expected<json> {
    if (run.workload->is_text()) return evaluate_text(*run.workload, *run.engine);
    const FileData& files = *run.workload->files();
    return evaluate_files(kind_ == Kind::Pretrain ? files.pretrain : files.cold_start, *run.engine);
  };
  WEFT_TRY_ASSIGN(json scores, losses());
  if (!run.engine->has_average()) return scores;
  WEFT_TRY(run.engine->swap_average());
  WEFT_TRY_ASSIGN(const json average, losses());
  WEFT_TRY(run.engine->swap_average());
  if (average.contains("val_loss")) scores["ema_val_loss"] = average["val_loss"];
  return scores;
}

}  // namespace weft::runtime

// Engine::train: the passes over the global batch, the one sum over all ranks, and the update.
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "runtime/worker/engine.h"
#include "runtime/worker/loss_tokens.h"

namespace weft::runtime {

using dualpipe::at_place;
using dualpipe::Place;
using trainer::MicroBatch;
using trainer::Mode;

/// The executor's step-end actions, carried out by the engine.
class Engine::StepEnd final : public dualpipe::StepEnd {
 public:
  explicit StepEnd(Engine& engine) : engine_(engine) {}
  Expected<void> reduce(int stage) override { return engine_.optimizer_->reduce(stage); }
  Expected<void> update() override { return engine_.finish_step(); }
  Expected<void> snapshot() override {
    if (engine_.snapshot_.wanted) engine_.take_snapshot();
    return {};
  }

 private:
  Engine& engine_;
};

std::unique_ptr<dualpipe::StepEnd> Engine::make_step_end() {
  return std::make_unique<StepEnd>(*this);
}

Expected<TrainResult> Engine::train(std::span<const MicroBatch> batch, double lr,
                                    long long adam_step, bool stop, const StepLimits& limits) {
  WEFT_CHECK(static_cast<int>(batch.size()) == num_micro_batches());
  close_replicas();
  step_ = {lr, adam_step, stop, 0, 0, limits, false, {}};
  if (batch.front().trains_next_tokens()) step_.depths = options_.model.num_nextn_predict_layers;
  snapshot_.taken = false;
  for (const MicroBatch& part : batch) step_.num_sequences += part.num_sequences();
  WEFT_TRY(run_step(batch));
  if (!step_.result.applied && options_.replay) return replay(batch);
  remember_loads(step_.result.expert_load);
  return step_.result;
}

Expected<void> Engine::run_step(std::span<const MicroBatch> batch) {
  start_pass(batch, Mode::Train);
  for (HeldStage& held : stages_) {
    held.model->parameters().zero_gradients();
    held.model->clear_expert_load();
    held.model->begin_balance(step_.num_sequences);
  }
  const dualpipe::RecordedPass pass(recorder_, dualpipe::Program::Train);
  WEFT_TRY(executor_->run(train_program_));
  for (HeldStage& held : stages_) held.adapter->take_head_hashes();
  return {};
}

Expected<void> Engine::finish_step() {
  WEFT_TRY_ASSIGN(step_.result, sum_step());
  return step_.result.applied && !step_.hold ? apply_step() : Expected<void>();
}

// One world-wide sum carries everything the ranks must agree on: each number has exactly one writer
// (or is a count), so the sum is exact and the results do not depend on the layout; but the balance
// loss, which is a metric only, adds stages and replicas and depends on it by rounding.
Expected<TrainResult> Engine::sum_step() {
  WEFT_TRY(
      at_place(recorder_, Place::SharedGradients, [&] { return optimizer_->reduce_shared(); }));
  sum_places_ = StepSumPlaces(optimizer_->num_tensors(), step_.num_sequences, options_.model,
                              step_.depths, options_.layout.world());
  step_sum_.assign(sum_places_.size, 0.0);
  if (recorder_ != nullptr)
    step_sum_[sum_places_.self + static_cast<std::size_t>(rank())] =
        static_cast<double>(recorder_->self_ns()) * 1e-9;
  write_gradients();
  for (HeldStage& held : stages_) write_stage(held);
  const std::span<double> totals = std::span(step_sum_).subspan(sum_places_.totals);
  totals[StepSumPlaces::Stop] = step_.stop ? 1 : 0;
  totals[StepSumPlaces::Snapshot] = snapshot_.asked ? 1 : 0;
  totals[StepSumPlaces::Copy] = copy_.asked ? 1 : 0;
  {
    const dualpipe::Recorded sum(recorder_, dualpipe::Record::What::WorldSum);
    WEFT_TRY(at_place(recorder_, Place::WorldSum,
                      [&] { return comm::all_reduce_sum(*world_, std::span(step_sum_)); }));
  }
  snapshot_.wanted = totals[StepSumPlaces::Snapshot] > 0;
  copy_.wanted = totals[StepSumPlaces::Copy] > 0;
  return read_sum();
}

void Engine::write_gradients() {
  optimizer_->squared_norms(std::span(step_sum_).first(sum_places_.losses));
  if (!gradient_watch_) return;
  for (const ShardedOptimizer::Owned& owned : optimizer_->owned()) {
    const trainer::Parameter& item = owned.set->items()[owned.parameter];
    if (item.trainable) gradient_watch_(item, owned.set->gradient(owned.parameter));
  }
}

void Engine::write_stage(HeldStage& held) {
  const trainer::ModelConfig& model = options_.model;
  const std::span<double> all = step_sum_, totals = all.subspan(sum_places_.totals);
  for (auto* part = held.model.get(); part != nullptr; part = part->next_token()) {
    const trainer::StageSpec& spec = part->spec();
    for (int i = 0; i < spec.num_layers; ++i)
      if (model.is_moe(spec.first_layer + i))
        std::ranges::copy(part->expert_load(i), loads_of(spec.first_layer + i).begin());
  }
  totals[StepSumPlaces::Balance] += held.model->balance_loss();
  if (!held.model->spec().head) return;
  add_next_token_losses(held, all.subspan(sum_places_.depths));
  for (int slot = 0; slot < static_cast<int>(held.batches.size()); ++slot) {
    const MicroBatch& part = held.batches[slot];
    const trainer::HeadOutput& output = held.model->head_output(slot);
    each_loss_token(part, [&](int s, int t) {
      all[sum_places_.losses + part.sequence_id[s]] += output.loss[t];
      totals[StepSumPlaces::Tokens] += 1;
      totals[StepSumPlaces::Entropy] += output.entropy[t];
      if (part.loss != trainer::LossKind::Grpo) return;
      totals[StepSumPlaces::Kl] += part.grpo.beta > 0 ? output.kl[t] : 0.0;
      totals[StepSumPlaces::Clipped] += output.clipped[t];
    });
  }
}

/// The tokens of each expert of a block, in the sum.
std::span<double> Engine::loads_of(int block) {
  const auto experts = static_cast<std::size_t>(options_.model.n_routed_experts);
  return std::span(step_sum_).subspan(sum_places_.loads + std::size_t(block) * experts, experts);
}

TrainResult Engine::read_sum() const {
  const std::span<const double> all = step_sum_, totals = all.subspan(sum_places_.totals);
  TrainResult result;
  double squares = 0;
  for (std::size_t i = 0; i < sum_places_.losses; ++i) squares += all[i];
  result.grad_norm = std::sqrt(squares);
  for (int s = 0; s < step_.num_sequences; ++s) result.loss += all[sum_places_.losses + s];
  const double count = std::max(1.0, totals[StepSumPlaces::Tokens]);
  result.entropy = totals[StepSumPlaces::Entropy] / count;
  result.kl = totals[StepSumPlaces::Kl] / count;
  result.clipped = totals[StepSumPlaces::Clipped] / count;
  result.stop_requested = totals[StepSumPlaces::Stop] > 0;
  result.balance_loss = totals[StepSumPlaces::Balance];
  result.expert_load.assign(all.begin() + sum_places_.loads, all.begin() + sum_places_.totals);
  for (int k = 0; k < step_.depths; ++k) {
    const auto of_depth = all.subspan(sum_places_.depths + k * (step_.num_sequences + 1));
    double sum = 0;
    for (int s = 0; s < step_.num_sequences; ++s) sum += of_depth[s];
    result.next_token_loss.push_back(sum / std::max(1.0, of_depth[step_.num_sequences]));
  }
  result.applied = std::isfinite(result.loss) && std::isfinite(result.grad_norm) &&
                   result.loss <= step_.limits.loss && result.grad_norm <= step_.limits.grad_norm;
  return result;
}

/// Of each depth that ran: each sequence's sum of negative log-probabilities, then the number of
/// tokens. Without their weight, so that they stand beside the main loss.
void Engine::add_next_token_losses(HeldStage& held, std::span<double> sums) {
  std::size_t at = 0;
  const trainer::StageModel* part = held.model->next_token();
  for (int k = 0; k < step_.depths; ++k, part = part->next_token()) {
    for (int slot = 0; slot < static_cast<int>(held.batches.size()); ++slot) {
      const MicroBatch& batch = part->micro_batch(slot);
      const trainer::HeadOutput& output = part->head_output(slot);
      each_loss_token(batch, [&](int s, int t) {
        sums[at + batch.sequence_id[s]] -= output.logprob[t];
        sums[at + step_.num_sequences] += 1;
      });
    }
    at += step_.num_sequences + 1;
  }
}

Expected<void> Engine::apply_step() {
  const trainer::ModelConfig& model = options_.model;
  const TrainResult& result = step_.result;
  const dualpipe::Recorded updating(recorder_, dualpipe::Record::What::Optimizer);
  const double clip = options_.clip_norm;
  const double scale = clip > 0 && result.grad_norm > clip ? clip / result.grad_norm : 1.0;
  if (average_) average_->finish();
  WEFT_TRY(at_place(recorder_, Place::Optimizer, [&] {
    return optimizer_->update(step_.lr, scale, step_.adam_step, step_.depths > 0);
  }));
  for (HeldStage& held : stages_)
    for (auto* part = held.model.get(); part != nullptr; part = part->next_token()) {
      const trainer::StageSpec& spec = part->spec();
      for (int i = 0; i < spec.num_layers; ++i)
        if (model.is_moe(spec.first_layer + i) && model.selection_bias)
          part->update_selection_bias(i, loads_of(spec.first_layer + i),
                                      options_.router_bias_update_rate);
    }
  if (average_) average_->begin();
  return {};
}

}  // namespace weft::runtime

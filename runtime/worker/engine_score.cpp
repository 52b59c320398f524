// Engine: forward passes alone, with the present weights, the reference's or their moving average.
#include <algorithm>

#include "base/check.h"
#include "runtime/worker/engine.h"
#include "runtime/worker/loss_tokens.h"

namespace weft::runtime {

using dualpipe::at_place;
using dualpipe::Place;
using trainer::MicroBatch;
using trainer::Mode;

Expected<Engine::Scores> Engine::score(std::span<const MicroBatch> batch) {
  WEFT_CHECK(static_cast<int>(batch.size()) == num_micro_batches());
  close_replicas();
  start_pass(batch, Mode::Score);
  WEFT_TRY(run_forward(options_.layout.micro_batches, dualpipe::Program::Score));

  // Where each sequence's tokens lie in one flat array, and each sequence's loss: same on all
  // ranks.
  int num_sequences = 0;
  for (const MicroBatch& part : batch)
    for (const int id : part.sequence_id) num_sequences = std::max(num_sequences, id + 1);
  std::vector<std::size_t> begin(num_sequences + 1, 0);
  for (const MicroBatch& part : batch)
    for (int s = 0; s < part.num_sequences(); ++s)
      begin[part.sequence_id[s] + 1] = part.sequence_begin[s + 1] - part.sequence_begin[s];
  for (int s = 0; s < num_sequences; ++s) begin[s + 1] += begin[s];
  std::vector<float> flat(begin.back(), 0.0f);
  std::vector<double> losses(num_sequences, 0.0);
  for (HeldStage& held : stages_) {
    if (held.model->spec().head)
      for (int slot = 0; slot < static_cast<int>(held.batches.size()); ++slot) {
        const MicroBatch& part = held.batches[slot];
        const trainer::HeadOutput& output = held.model->head_output(slot);
        each_loss_token(part, [&](int s, int t) {
          flat[begin[part.sequence_id[s]] + t - part.sequence_begin[s]] = output.logprob[t];
          losses[part.sequence_id[s]] += output.loss[t];
        });
      }
    held.adapter->end_pass();
  }
  const auto add_up = [&]() -> Expected<void> {
    WEFT_TRY(comm::all_reduce_sum(*world_, std::span<float>(flat)));
    return comm::all_reduce_sum(*world_, std::span<double>(losses));
  };
  WEFT_TRY(at_place(recorder_, Place::Scores, add_up));
  Scores scores;
  for (int s = 0; s < num_sequences; ++s) {
    scores.logprobs.emplace_back(flat.begin() + begin[s], flat.begin() + begin[s + 1]);
    scores.loss += losses[s];
  }
  return scores;
}

void Engine::freeze_reference() {
  reference_.clear();
  for (HeldStage& held : stages_) {
    const std::span<const float> values = held.model->parameters().values();
    reference_.emplace_back(values.begin(), values.end());
  }
}

void Engine::swap_reference() {
  if (average_) average_->finish();
  for (std::size_t i = 0; i < stages_.size(); ++i)
    stages_[i].model->parameters().swap_values(reference_[i]);
}

Expected<Engine::Scores> Engine::score_with_reference(std::span<const MicroBatch> batch) {
  WEFT_CHECK(has_reference());
  swap_reference();
  Expected<Scores> scores = score(batch);
  swap_reference();
  return scores;
}

void Engine::make_average() {
  if (options_.ema_decay == 0) return;
  std::vector<std::span<const float>> values;
  for (const ShardedOptimizer::Owned& owned : optimizer_->owned())
    if (owned.moments != nullptr) values.push_back(owned.set->value(owned.parameter));
  average_ =
      std::make_unique<trainer::optimizer::ParameterAverage>(std::move(values), options_.ema_decay);
}

Expected<void> Engine::swap_average() {
  average_->finish();
  std::size_t tensor = 0;
  for (const ShardedOptimizer::Owned& owned : optimizer_->owned())
    if (owned.moments != nullptr)
      std::ranges::swap_ranges(owned.set->value(owned.parameter), average_->average(tensor++));
  return optimizer_->spread();
}

}  // namespace weft::runtime

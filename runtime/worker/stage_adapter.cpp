#include "runtime/worker/stage_adapter.h"

#include <xxhash.h>

#include "base/check.h"
#include "runtime/worker/fault.h"

namespace weft::runtime {

using dualpipe::Chunk;
using dualpipe::Part;
using dualpipe::Pass;
using dualpipe::Phase;
using dualpipe::PhaseKind;
using trainer::Mode;

StageAdapter::StageAdapter(trainer::StageModel& model) : model_(model) {
  for (auto* module = model.next_token(); module != nullptr; module = module->next_token())
    modules_.push_back(module);
  with_modules_ = make_lists(modules_.size());
  without_ = make_lists(0);
}

/// `shown`: the layer's index in the lists.
void StageAdapter::add_block(Lists& lists, const trainer::StageModel& model, int layer,
                             int shown) const {
  const bool moe = model.config().is_moe(model.spec().first_layer + layer);
  lists.forward.push_back({PhaseKind::Attention, shown, Part::Whole});
  if (moe) lists.forward.push_back({PhaseKind::Dispatch, shown, Part::Whole});
  lists.forward.push_back({PhaseKind::Experts, shown, Part::Whole});
  if (moe) lists.forward.push_back({PhaseKind::Combine, shown, Part::Whole});
}

void StageAdapter::add_backward(Lists& lists, const trainer::StageModel& model, int layer,
                                int shown) const {
  const bool moe = model.config().is_moe(model.spec().first_layer + layer);
  const bool again = model.recompute() == trainer::Recompute::Full;
  std::vector<Phase>& backward = lists.backward;
  if (again) backward.push_back({PhaseKind::Attention, shown, Part::Again});
  if (again && moe) backward.push_back({PhaseKind::Dispatch, shown, Part::Again});
  if (moe) backward.push_back({PhaseKind::Combine, shown, Part::Input});
  if (again) backward.push_back({PhaseKind::Experts, shown, Part::Again});
  backward.push_back({PhaseKind::Experts, shown, Part::Input});
  if (moe) backward.push_back({PhaseKind::Dispatch, shown, Part::Input});
  backward.push_back({PhaseKind::Experts, shown, Part::Weights});
  backward.push_back({PhaseKind::Attention, shown, Part::Input});
  backward.push_back({PhaseKind::Attention, shown, Part::Weights});
}

StageAdapter::Lists StageAdapter::make_lists(std::size_t modules) const {
  const trainer::StageSpec& spec = model_.spec();
  Lists lists;
  if (spec.embedding) lists.forward.push_back({PhaseKind::Embed, 0, Part::Whole});
  for (int i = 0; i < spec.num_layers; ++i) add_block(lists, model_, i, i);
  if (spec.head) lists.forward.push_back({PhaseKind::Head, 0, Part::Whole});
  for (std::size_t k = 0; k < modules; ++k) {
    const int shown = spec.num_layers + static_cast<int>(k);
    lists.forward.push_back({PhaseKind::Embed, shown, Part::Whole});
    add_block(lists, *modules_[k], 0, shown);
    lists.forward.push_back({PhaseKind::Head, shown, Part::Whole});
  }
  const auto head = [&](int shown) {
    lists.backward.push_back({PhaseKind::Head, shown, Part::Input});
    lists.backward.push_back({PhaseKind::Head, shown, Part::Weights});
  };
  for (std::size_t k = modules; k-- > 0;) {
    const int shown = spec.num_layers + static_cast<int>(k);
    head(shown);
    add_backward(lists, *modules_[k], 0, shown);
    lists.backward.push_back({PhaseKind::Embed, shown, Part::Input});
    lists.backward.push_back({PhaseKind::Embed, shown, Part::Weights});
  }
  if (spec.head) head(0);
  for (int i = spec.num_layers - 1; i >= 0; --i) add_backward(lists, model_, i, i);
  if (spec.embedding) lists.backward.push_back({PhaseKind::Embed, 0, Part::Weights});
  return lists;
}

StageAdapter::Layer StageAdapter::at(const Phase& phase) const {
  const int module = phase.layer - model_.spec().num_layers;
  if (module < 0) return {model_, phase.layer};
  return {*modules_[static_cast<std::size_t>(module)], 0};
}

void StageAdapter::start_pass(std::span<const trainer::MicroBatch> batches) {
  model_.set_micro_batches(batches);
  slots_.assign(batches.size(), {});
  const bool train = !batches.empty() && batches.front().mode == Mode::Train;
  hashes_.assign(hashing_ && train ? 2 * batches.size() : 0, 0);
  lists_ = !batches.empty() && batches.front().trains_next_tokens() ? &with_modules_ : &without_;
}

void StageAdapter::end_pass() {
  for (int slot = 0; slot < static_cast<int>(slots_.size()); ++slot) release(slot);
}

std::span<const Phase> StageAdapter::phases(Pass pass) const {
  return pass == Pass::Forward ? lists_->forward : lists_->backward;
}

Expected<void> StageAdapter::begin(Pass pass, const Phase& phase, const Chunk& chunk) {
  WEFT_TRY(fault_point(FaultAt::Compute));
  return pass == Pass::Forward ? begin_forward(phase, chunk.micro_batch)
                               : begin_backward(phase, chunk.micro_batch);
}

Expected<void> StageAdapter::begin_forward(const Phase& phase, int slot) {
  const auto [model, layer] = at(phase);
  switch (phase.kind) {
    case PhaseKind::Embed:
      model.embed(slot);
      return {};
    case PhaseKind::Attention:
      model.attention(slot, layer);
      return {};
    case PhaseKind::Dispatch:
      return model.begin_dispatch(slot, layer);
    case PhaseKind::Experts:
      model.experts(slot, layer);
      return {};
    case PhaseKind::Combine:
      return model.begin_combine(slot, layer);
    case PhaseKind::Head:
      model.head(slot);
      return {};
  }
  return fail(Code::Internal, "unknown forward phase");
}

Expected<void> StageAdapter::begin_again(const Phase& phase, int slot) {
  const auto [model, layer] = at(phase);
  switch (phase.kind) {
    case PhaseKind::Attention:
      model.attention_again(slot, layer);
      return {};
    case PhaseKind::Dispatch:
      return model.begin_dispatch_again(slot, layer);
    case PhaseKind::Experts:
      model.experts_again(slot, layer);
      return {};
    default:
      return fail(Code::Internal, "a phase that is never computed again");
  }
}

Expected<void> StageAdapter::begin_backward(const Phase& phase, int slot) {
  if (phase.part == Part::Again) return begin_again(phase, slot);
  const auto [model, layer] = at(phase);
  const bool weights = phase.part == Part::Weights;
  switch (phase.kind) {
    case PhaseKind::Head:
      weights ? model.head_backward_weights(slot) : model.head_backward_input(slot);
      break;
    case PhaseKind::Combine:
      return model.begin_combine_backward(slot, layer);
    case PhaseKind::Experts:
      weights ? model.experts_backward_weights(slot, layer)
              : model.experts_backward_input(slot, layer);
      break;
    case PhaseKind::Dispatch:
      return model.begin_dispatch_backward(slot, layer);
    case PhaseKind::Attention:
      weights ? model.attention_backward_weights(slot, layer)
              : model.attention_backward_input(slot, layer);
      break;
    case PhaseKind::Embed:
      weights ? model.embed_backward(slot) : model.embed_backward_input(slot);
      break;
  }
  if (phase == lists_->backward.back()) {
    slots_[slot].weights_done = true;
    release_after_backward(slot);
  }
  return {};
}

Expected<void> StageAdapter::finish(Pass pass, const Phase& phase, const Chunk& chunk) {
  WEFT_TRY(fault_point(FaultAt::Exchange));
  const int slot = chunk.micro_batch;
  const auto [model, layer] = at(phase);
  const bool dispatch = phase.kind == PhaseKind::Dispatch;
  if (pass == Pass::Forward)
    return dispatch ? model.end_dispatch(slot, layer) : model.end_combine(slot, layer);
  if (phase.part == Part::Again) return model.end_dispatch_again(slot, layer);
  return dispatch ? model.end_dispatch_backward(slot, layer)
                  : model.end_combine_backward(slot, layer);
}

std::span<std::byte> StageAdapter::incoming(Pass pass, const Chunk& chunk) {
  return std::as_writable_bytes(pass == Pass::Forward ? model_.input(chunk.micro_batch)
                                                      : model_.output_gradient(chunk.micro_batch));
}

std::span<const std::byte> StageAdapter::outgoing(Pass pass, const Chunk& chunk) {
  const bool backward = pass == Pass::Backward;
  const std::span<const trainer::Real> output =
      backward ? model_.input_gradient(chunk.micro_batch) : model_.output(chunk.micro_batch);
  if (output_watch_)
    output_watch_(pass, chunk, {const_cast<trainer::Real*>(output.data()), output.size()});
  if (!hashes_.empty())
    hashes_[2 * static_cast<std::size_t>(chunk.micro_batch) + backward] =
        XXH3_64bits(output.data(), output.size_bytes());
  return std::as_bytes(output);
}

void StageAdapter::take_head_hashes() {
  if (hashes_.empty() || !model_.spec().head) return;
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    const std::vector<float>& loss = model_.head_output(static_cast<int>(slot)).loss;
    hashes_[2 * slot] = XXH3_64bits(loss.data(), loss.size() * sizeof(float));
  }
}

void StageAdapter::sent(Pass pass, const Chunk& chunk) {
  const int slot = chunk.micro_batch;
  if (pass == Pass::Backward) {
    slots_[slot].gradient_sent = true;
    release_after_backward(slot);
  } else if (model_.micro_batch(slot).mode != Mode::Train) {
    release(slot);
  }
}

std::size_t StageAdapter::exchanged_bytes(Pass, const Phase& phase, const Chunk& chunk) const {
  const auto [model, layer] = at(phase);
  return model.exchanged_bytes(chunk.micro_batch, layer);
}

void StageAdapter::release_after_backward(int slot) {
  const SlotState& state = slots_[slot];
  if (state.weights_done && (state.gradient_sent || model_.spec().embedding)) release(slot);
}

void StageAdapter::release(int slot) {
  if (slots_[slot].released) return;
  slots_[slot].released = true;
  model_.release(slot);
}

}  // namespace weft::runtime

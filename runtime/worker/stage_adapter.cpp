#include "runtime/worker/stage_adapter.h"

#include "base/check.h"

namespace weft::runtime {

using dualpipe::Chunk;
using dualpipe::Part;
using dualpipe::Pass;
using dualpipe::Phase;
using dualpipe::PhaseKind;
using trainer::Mode;

StageAdapter::StageAdapter(trainer::StageModel& model) : model_(model) {
  const trainer::StageSpec& spec = model.spec();
  if (spec.embedding) forward_.push_back({PhaseKind::Embed, 0, Part::Whole});
  if (spec.head) {
    backward_.push_back({PhaseKind::Head, 0, Part::Input});
    backward_.push_back({PhaseKind::Head, 0, Part::Weights});
  }
  for (int i = 0; i < spec.num_layers; ++i) {
    const bool moe = model.config().is_moe(spec.first_layer + i);
    forward_.push_back({PhaseKind::Attention, i, Part::Whole});
    if (moe) forward_.push_back({PhaseKind::Dispatch, i, Part::Whole});
    forward_.push_back({PhaseKind::Experts, i, Part::Whole});
    if (moe) forward_.push_back({PhaseKind::Combine, i, Part::Whole});
  }
  const bool again = model.recompute() == trainer::Recompute::Full;
  for (int i = spec.num_layers - 1; i >= 0; --i) {
    const bool moe = model.config().is_moe(spec.first_layer + i);
    if (again) backward_.push_back({PhaseKind::Attention, i, Part::Again});
    if (again && moe) backward_.push_back({PhaseKind::Dispatch, i, Part::Again});
    if (moe) backward_.push_back({PhaseKind::Combine, i, Part::Input});
    if (again) backward_.push_back({PhaseKind::Experts, i, Part::Again});
    backward_.push_back({PhaseKind::Experts, i, Part::Input});
    if (moe) backward_.push_back({PhaseKind::Dispatch, i, Part::Input});
    backward_.push_back({PhaseKind::Experts, i, Part::Weights});
    backward_.push_back({PhaseKind::Attention, i, Part::Input});
    backward_.push_back({PhaseKind::Attention, i, Part::Weights});
  }
  if (spec.head) forward_.push_back({PhaseKind::Head, 0, Part::Whole});
  if (spec.embedding) backward_.push_back({PhaseKind::Embed, 0, Part::Weights});
}

void StageAdapter::start_pass(std::span<const trainer::MicroBatch> batches) {
  model_.set_micro_batches(batches);
  slots_.assign(batches.size(), {});
}

void StageAdapter::end_pass() {
  for (int slot = 0; slot < static_cast<int>(slots_.size()); ++slot) release(slot);
}

std::span<const Phase> StageAdapter::phases(Pass pass) const {
  return pass == Pass::Forward ? forward_ : backward_;
}

Expected<void> StageAdapter::begin(Pass pass, const Phase& phase, const Chunk& chunk) {
  return pass == Pass::Forward ? begin_forward(phase, chunk.micro_batch)
                               : begin_backward(phase, chunk.micro_batch);
}

Expected<void> StageAdapter::begin_forward(const Phase& phase, int slot) {
  switch (phase.kind) {
    case PhaseKind::Embed:
      model_.embed(slot);
      return {};
    case PhaseKind::Attention:
      model_.attention(slot, phase.layer);
      return {};
    case PhaseKind::Dispatch:
      return model_.begin_dispatch(slot, phase.layer);
    case PhaseKind::Experts:
      model_.experts(slot, phase.layer);
      return {};
    case PhaseKind::Combine:
      return model_.begin_combine(slot, phase.layer);
    case PhaseKind::Head:
      model_.head(slot);
      return {};
  }
  return fail(Code::Internal, "unknown forward phase");
}

Expected<void> StageAdapter::begin_again(const Phase& phase, int slot) {
  switch (phase.kind) {
    case PhaseKind::Attention:
      model_.attention_again(slot, phase.layer);
      return {};
    case PhaseKind::Dispatch:
      return model_.begin_dispatch_again(slot, phase.layer);
    case PhaseKind::Experts:
      model_.experts_again(slot, phase.layer);
      return {};
    default:
      return fail(Code::Internal, "a phase that is never computed again");
  }
}

Expected<void> StageAdapter::begin_backward(const Phase& phase, int slot) {
  if (phase.part == Part::Again) return begin_again(phase, slot);
  const bool weights = phase.part == Part::Weights;
  switch (phase.kind) {
    case PhaseKind::Head:
      weights ? model_.head_backward_weights(slot) : model_.head_backward_input(slot);
      break;
    case PhaseKind::Combine:
      return model_.begin_combine_backward(slot, phase.layer);
    case PhaseKind::Experts:
      weights ? model_.experts_backward_weights(slot, phase.layer)
              : model_.experts_backward_input(slot, phase.layer);
      break;
    case PhaseKind::Dispatch:
      return model_.begin_dispatch_backward(slot, phase.layer);
    case PhaseKind::Attention:
      weights ? model_.attention_backward_weights(slot, phase.layer)
              : model_.attention_backward_input(slot, phase.layer);
      break;
    case PhaseKind::Embed:
      model_.embed_backward(slot);
      break;
  }
  if (phase == backward_.back()) {
    slots_[slot].weights_done = true;
    release_after_backward(slot);
  }
  return {};
}

Expected<void> StageAdapter::finish(Pass pass, const Phase& phase, const Chunk& chunk) {
  const int slot = chunk.micro_batch;
  const bool dispatch = phase.kind == PhaseKind::Dispatch;
  if (pass == Pass::Forward)
    return dispatch ? model_.end_dispatch(slot, phase.layer)
                    : model_.end_combine(slot, phase.layer);
  if (phase.part == Part::Again) return model_.end_dispatch_again(slot, phase.layer);
  return dispatch ? model_.end_dispatch_backward(slot, phase.layer)
                  : model_.end_combine_backward(slot, phase.layer);
}

std::span<std::byte> StageAdapter::incoming(Pass pass, const Chunk& chunk) {
  return std::as_writable_bytes(pass == Pass::Forward ? model_.input(chunk.micro_batch)
                                                      : model_.output_gradient(chunk.micro_batch));
}

std::span<const std::byte> StageAdapter::outgoing(Pass pass, const Chunk& chunk) {
  return std::as_bytes(pass == Pass::Forward ? model_.output(chunk.micro_batch)
                                             : model_.input_gradient(chunk.micro_batch));
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
  return model_.exchanged_bytes(chunk.micro_batch, phase.layer);
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

// Slots of a stage, and the residual stream at its edges and between its blocks.
#include "trainer/model/stage_impl.h"

namespace weft::trainer {

template <class Act>
Activations<Act>& StageImpl<Act>::live(int slot) {
  auto& held = slots_.at(static_cast<std::size_t>(slot));
  if (held) return *held;
  if (pool_.empty()) {
    pool_.push_back(std::make_unique<Activations<Act>>());
    pool_.back()->layers.resize(static_cast<std::size_t>(spec.num_layers));
  }
  held = std::move(pool_.back());
  pool_.pop_back();
  return *held;
}

template <class Act>
void StageImpl<Act>::resize_slots(std::size_t n) {
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) release(static_cast<int>(slot));
  if (slots_.size() < n) slots_.resize(n);
}

template <class Act>
void StageImpl<Act>::release(int slot) {
  auto& held = slots_.at(static_cast<std::size_t>(slot));
  if (held == nullptr) return;
  held->each([this](AnyBuffer& buffer) { drop(buffer); });
  for (LayerActivations<Act>& layer : held->layers) give_layout(layer);
  pool_.push_back(std::move(held));
}

template <class Act>
std::size_t StageImpl<Act>::activation_bytes(int slot) const {
  const auto& held = slots_.at(static_cast<std::size_t>(slot));
  if (held == nullptr) return 0;
  std::size_t sum = 0;
  held->each([&](const AnyBuffer& buffer) { sum += buffer.bytes(); });
  for (const LayerActivations<Act>& layer : held->layers) sum += layer.layout_bytes;
  return sum;
}

template <class Act>
Real* StageImpl<Act>::input(int slot) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens();
  return take(live(slot).input, elements(n, config.hidden_size));
}

template <class Act>
Real* StageImpl<Act>::output_gradient(int slot) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens();
  return take(live(slot).output_gradient, elements(n, config.hidden_size));
}

template <class Act>
const Real* StageImpl<Act>::layer_input(int slot, int layer) {
  Activations<Act>& a = live(slot);
  return layer == 0 ? a.input.data() : a.layers[static_cast<std::size_t>(layer) - 1].output.data();
}

template <class Act>
const Real* StageImpl<Act>::layer_output_gradient(int slot, int layer) {
  Activations<Act>& a = live(slot);
  if (layer + 1 < spec.num_layers) {
    return a.layers[static_cast<std::size_t>(layer) + 1].d_input.data();
  }
  return spec.head ? a.head.d_input.data() : a.output_gradient.data();
}

std::unique_ptr<StageBase> make_stage(const ModelConfig& config, const StageSpec& spec,
                                      comm::Communicator& experts, kernels::Context& context,
                                      int max_tokens, Recompute recompute,
                                      const comm::ExchangeOptions& exchange_options,
                                      Precision precision, const Fp8Options& fp8,
                                      const NextTokenPlace& place) {
#ifndef WEFT_REAL_DOUBLE
  if (precision != Precision::F32) {
    return std::make_unique<StageImpl<Bf16>>(config, spec, experts, context, max_tokens, recompute,
                                             exchange_options, precision, fp8, place);
  }
#endif
  return std::make_unique<StageImpl<Real>>(config, spec, experts, context, max_tokens, recompute,
                                           exchange_options, precision, fp8, place);
}

#define WEFT_INSTANTIATE(Act)                                 \
  template Activations<Act>& StageImpl<Act>::live(int);       \
  template const Real* StageImpl<Act>::layer_input(int, int); \
  template const Real* StageImpl<Act>::layer_output_gradient(int, int);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer

#include "trainer/model/stage_model.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/rng.h"
#include "trainer/kernels/embedding.h"
#include "trainer/model/next_token_block.h"
#include "trainer/model/rotary.h"
#include "trainer/model/stage_base.h"

namespace weft::trainer {

namespace {

bool has_moe(const ModelConfig& config, const StageSpec& spec) {
  return spec.num_layers > 0 && config.is_moe(spec.first_layer + spec.num_layers - 1);
}

}  // namespace

StageBase::StageBase(const ModelConfig& config_in, const StageSpec& spec_in,
                     comm::Communicator& experts, kernels::Context& context_in, int max_tokens_in,
                     Recompute recompute_in, const comm::ExchangeOptions& exchange_options,
                     Precision precision, const Fp8Options& fp8, const NextTokenPlace& place_in)
    : config(config_in),
      spec(spec_in),
      context(context_in),
      max_tokens(max_tokens_in),
      recompute(recompute_in),
      place(place_in),
      set(place_in.previous != nullptr ? place_in.previous->set : own_set),
      linear(set, precision, fp8),
      rope(rotary_frequencies(config_in), config_in.max_position_embeddings,
           rotary_scale(config_in)),
      nodes(exchange_options.nodes),
      arena(place_in.previous != nullptr ? place_in.previous->arena : own_arena) {
  int first_expert = 0, num_experts = 0;
  if (has_moe(config, spec)) {
    exchange.emplace(experts, config.n_routed_experts, config.num_experts_per_tok,
                     config.hidden_size, max_tokens, exchange_options);
    first_expert = exchange->first_local_expert();
    num_experts = exchange->num_local_experts();
  }
  if (place.previous != nullptr) {
    weights = add_module_parameters(config, spec, first_expert, num_experts, set);
  } else {
    const bool copy = spec.next_token > 0 && place.first_stage == nullptr;
    weights = add_parameters(config, spec, spec.embedding || copy, first_expert, num_experts, set);
  }
  attention_shape = {config.num_attention_heads, config.head_dim, 0, config.head_dim,
                     static_cast<Real>(softmax_scale(config))};
  if (config.latent_attention()) {
    attention_shape.nope = config.qk_nope_head_dim;
    attention_shape.rope = config.qk_rope_head_dim;
    attention_shape.value = config.v_head_dim;
  }
  router_shape = {config.n_routed_experts, config.num_experts_per_tok,
                  config.n_group,          config.topk_group,
                  config.norm_topk_prob,   static_cast<Real>(config.routed_scaling_factor)};
  expert_load.resize(static_cast<std::size_t>(spec.num_layers));
  decode_load.resize(expert_load.size());
  for (int l = 0; l < spec.num_layers; ++l) {
    if (config.is_moe(spec.first_layer + l)) {
      expert_load[static_cast<std::size_t>(l)].assign(
          static_cast<std::size_t>(config.n_routed_experts), 0.0);
      decode_load[static_cast<std::size_t>(l)].chosen = expert_load[static_cast<std::size_t>(l)];
    }
  }
  if (spec.next_token > 0) {
    next = std::make_unique<NextToken>(*this, experts, exchange_options);
  }
  if (place.previous == nullptr) set.allocate();
}

StageBase::~StageBase() = default;

comm::Tag StageBase::tag(int slot, int layer, int exchange_index) const {
  return static_cast<comm::Tag>(spec.first_layer + layer) << 32 |
         static_cast<comm::Tag>(slot) << 4 | static_cast<comm::Tag>(exchange_index);
}

void StageBase::add_vector_gradient(const Vector1& vector, const Real* d) {
  Real* sum = gradient(vector.offset);
  for (int i = 0; i < vector.size; ++i) sum[i] += d[i];
}

StageModel::StageModel(const ModelConfig& config, const StageSpec& spec,
                       comm::Communicator& experts, kernels::Context& context, int max_tokens,
                       Recompute recompute, const comm::ExchangeOptions& exchange,
                       Precision precision, const Fp8Options& fp8, StageModel* first_stage)
    : impl_(make_stage(config, spec, experts, context, max_tokens, recompute, exchange, precision,
                       fp8,
                       {first_stage != nullptr ? first_stage->impl_.get() : nullptr, nullptr})) {}
StageModel::StageModel(std::unique_ptr<StageBase> impl) : impl_(std::move(impl)) {}
StageModel::~StageModel() = default;

const ModelConfig& StageModel::config() const { return impl_->config; }
const StageSpec& StageModel::spec() const { return impl_->spec; }
Recompute StageModel::recompute() const { return impl_->recompute; }
Precision StageModel::precision() const { return impl_->linear.precision(); }
ParameterSet& StageModel::parameters() { return impl_->set; }
const ParameterSet& StageModel::parameters() const { return impl_->set; }

void StageModel::initialize(std::uint64_t seed) {
  ParameterSet& set = impl_->set;
  const auto items = set.items();
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::span<Real> value = set.value(static_cast<int>(i));
    if (items[i].shape.size() == 1) {
      const bool gain = items[i].trainable && !items[i].name.ends_with(".bias");
      std::fill(value.begin(), value.end(), gain ? Real(1) : Real(0));
      continue;
    }
    Rng rng(seed, "init " + items[i].name);
    for (Real& x : value) x = static_cast<Real>(rng.normal() * impl_->config.initializer_range);
  }
  set.touch();
}

void StageModel::set_micro_batches(std::span<const MicroBatch> batches) {
  impl_->resize_slots(batches.size());
  impl_->batches = batches;
  for (const MicroBatch& batch : batches) {
    WEFT_CHECK(batch.num_tokens() <= impl_->max_tokens,
               "a micro-batch of " + std::to_string(batch.num_tokens()) + " tokens");
    WEFT_CHECK(batch.positions.size() == batch.tokens.size());
    WEFT_CHECK(batch.sequence_begin.size() >= 1 &&
               batch.sequence_begin.back() == batch.num_tokens());
  }
  const std::size_t n = std::max(batches.size(), impl_->head_outputs.size());
  impl_->head_outputs.resize(n);
  impl_->loss_sums.resize(n);
  impl_->logits.resize(n);
  if (impl_->next != nullptr) impl_->next->set_micro_batches(batches);
}

const MicroBatch& StageModel::micro_batch(int slot) const {
  return impl_->batches[static_cast<std::size_t>(slot)];
}

std::span<Real> StageModel::input(int slot) {
  const std::size_t n = elements(micro_batch(slot).num_tokens(), impl_->config.hidden_size);
  return {impl_->input(slot), n};
}

std::span<const Real> StageModel::output(int slot) {
  const std::size_t n = elements(micro_batch(slot).num_tokens(), impl_->config.hidden_size);
  return {impl_->layer_input(slot, impl_->spec.num_layers), n};
}

std::span<Real> StageModel::output_gradient(int slot) {
  const std::size_t n = elements(micro_batch(slot).num_tokens(), impl_->config.hidden_size);
  return {impl_->output_gradient(slot), n};
}

std::span<const Real> StageModel::input_gradient(int slot) {
  const std::size_t n = elements(micro_batch(slot).num_tokens(), impl_->config.hidden_size);
  return {impl_->layer_output_gradient(slot, -1), n};
}

void StageModel::embed(int slot) {
  if (impl_->module != nullptr) return impl_->module->forward(slot);
  const MicroBatch& batch = micro_batch(slot);
  kernels::embedding_forward(
      impl_->context, impl_->set.values().data() + impl_->weights.embedding.offset,
      batch.tokens.data(), batch.num_tokens(), impl_->config.hidden_size, input(slot).data());
}

void StageModel::embed_backward_input(int slot) { impl_->module->backward_input(slot); }

void StageModel::embed_backward(int slot) {
  if (impl_->module != nullptr) return impl_->module->backward_weights(slot);
  const MicroBatch& batch = micro_batch(slot);
  kernels::embedding_backward(impl_->context, input_gradient(slot).data(), batch.tokens.data(),
                              batch.num_tokens(), impl_->config.hidden_size,
                              impl_->gradient(impl_->weights.embedding.offset));
}

void StageModel::attention(int slot, int layer) { impl_->attention(slot, layer, false); }
void StageModel::attention_again(int slot, int layer) { impl_->attention(slot, layer, true); }
void StageModel::experts(int slot, int layer) { impl_->run_experts(slot, layer); }
void StageModel::experts_again(int slot, int layer) { impl_->run_experts_again(slot, layer); }
void StageModel::head(int slot) { impl_->head(slot); }
void StageModel::head_backward_input(int slot) {
  impl_->head_backward_input(slot);
  if (impl_->next != nullptr) impl_->next->add_gradient(slot, impl_->head_gradient(slot));
}
void StageModel::head_backward_weights(int slot) { impl_->head_backward_weights(slot); }
void StageModel::experts_backward_input(int slot, int layer) {
  impl_->experts_backward_input(slot, layer);
}
void StageModel::experts_backward_weights(int slot, int layer) {
  impl_->experts_backward_weights(slot, layer);
}
void StageModel::attention_backward_input(int slot, int layer) {
  impl_->attention_backward_input(slot, layer);
}
void StageModel::attention_backward_weights(int slot, int layer) {
  impl_->attention_backward_weights(slot, layer);
}

Expected<void> StageModel::begin_dispatch(int slot, int layer) {
  return impl_->begin_dispatch(slot, layer, false);
}
Expected<void> StageModel::begin_dispatch_again(int slot, int layer) {
  return impl_->begin_dispatch(slot, layer, true);
}
Expected<void> StageModel::end_dispatch(int slot, int layer) {
  return impl_->end_dispatch(slot, layer);
}
Expected<void> StageModel::end_dispatch_again(int slot, int layer) {
  return impl_->end_dispatch(slot, layer);
}
Expected<void> StageModel::begin_combine(int slot, int layer) {
  return impl_->begin_combine(slot, layer);
}
Expected<void> StageModel::end_combine(int slot, int layer) {
  return impl_->end_combine(slot, layer);
}
Expected<void> StageModel::begin_combine_backward(int slot, int layer) {
  return impl_->begin_combine_backward(slot, layer);
}
Expected<void> StageModel::end_combine_backward(int slot, int layer) {
  return impl_->end_combine_backward(slot, layer);
}
Expected<void> StageModel::begin_dispatch_backward(int slot, int layer) {
  return impl_->begin_dispatch_backward(slot, layer);
}
Expected<void> StageModel::end_dispatch_backward(int slot, int layer) {
  return impl_->end_dispatch_backward(slot, layer);
}

std::size_t StageModel::exchanged_bytes(int slot, int layer) const {
  return impl_->exchanged_bytes(slot, layer);
}

void StageModel::release(int slot) {
  if (impl_->next != nullptr) impl_->next->release(slot);
  impl_->release(slot);
}

ActivationBytes StageModel::activation_bytes() const {
  const Arena& arena = impl_->arena;
  return {arena.live_bytes(), arena.peak_bytes(), arena.reserved_bytes()};
}
std::size_t StageModel::activation_bytes(int slot) const {
  const std::size_t further = impl_->next != nullptr ? impl_->next->bytes(slot) : 0;
  return impl_->activation_bytes(slot) + further;
}

const HeadOutput& StageModel::head_output(int slot) const {
  return impl_->head_outputs.at(static_cast<std::size_t>(slot));
}

double StageModel::loss_sum(int slot) const {
  return impl_->loss_sums.at(static_cast<std::size_t>(slot));
}

std::span<const Real> StageModel::logits(int slot) const {
  const auto& logits = impl_->logits.at(static_cast<std::size_t>(slot));
  return {logits.data(), elements(micro_batch(slot).num_sequences(), impl_->config.vocab_size)};
}

void StageModel::open_cache(int slot, int rows, int max_length) {
  auto& caches = impl_->caches;
  if (caches.size() <= static_cast<std::size_t>(slot)) {
    caches.resize(static_cast<std::size_t>(slot) + 1);
  }
  if (!impl_->config.latent_attention()) {
    auto& held = impl_->head_caches;
    if (held.size() <= static_cast<std::size_t>(slot)) held.resize(caches.size());
    auto& layers = held[static_cast<std::size_t>(slot)];
    layers.resize(static_cast<std::size_t>(impl_->spec.num_layers));
    for (auto& layer : layers) {
      layer.open(rows, max_length, impl_->config.num_key_value_heads, impl_->config.head_dim);
    }
    return;
  }
  auto& layers = caches[static_cast<std::size_t>(slot)];
  layers.resize(static_cast<std::size_t>(impl_->spec.num_layers));
  for (auto& layer : layers) {
    layer.open(rows, max_length, impl_->config.kv_lora_rank, impl_->config.qk_rope_head_dim);
  }
}

void StageModel::close_caches() {
  impl_->caches.clear();
  impl_->head_caches.clear();
}

std::span<double> StageModel::expert_load(int layer) {
  return impl_->expert_load.at(static_cast<std::size_t>(layer));
}

void StageModel::clear_expert_load() {
  for (auto& load : impl_->expert_load) std::fill(load.begin(), load.end(), 0.0);
  if (impl_->next != nullptr) impl_->next->block.clear_expert_load();
}

void StageModel::begin_balance(int sequences) {
  impl_->balance_sequences = sequences;
  impl_->balance_sum = 0;
  if (impl_->next != nullptr) impl_->next->block.begin_balance(sequences);
}

double StageModel::balance_loss() const {
  return impl_->balance_sum + (impl_->next != nullptr ? impl_->next->block.balance_loss() : 0.0);
}

void StageModel::update_selection_bias(int layer, std::span<const double> load, double rate) {
  const Vector1& where = impl_->weights.layers.at(static_cast<std::size_t>(layer)).selection_bias;
  WEFT_CHECK(where.offset >= 0 && load.size() == static_cast<std::size_t>(where.size));
  double mean = 0;
  for (const double n : load) mean += n;
  mean /= static_cast<double>(load.size());
  Real* bias = impl_->set.values().data() + where.offset;
  for (std::size_t e = 0; e < load.size(); ++e) {
    if (load[e] < mean) bias[e] += static_cast<Real>(rate);
    if (load[e] > mean) bias[e] -= static_cast<Real>(rate);
  }
}

}  // namespace weft::trainer

// Attention phase of a layer: norm, multi-head latent attention, residual, second norm, gate.
#include <algorithm>

#include "base/check.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/model/stage_impl.h"

namespace weft::trainer {

using namespace kernels;

namespace {
std::size_t elements(int rows, int columns) {
  return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
}
}  // namespace

/// Queries (rotated), normalised latents and rotated keys of every token.
void StageModel::Impl::project(const MicroBatch& batch, LayerWeights& w, LayerActivations& a,
                               const Real* x) {
  const int n = batch.num_tokens(), hidden = config.hidden_size;
  const auto epsilon = static_cast<Real>(config.rms_norm_eps);
  const int lora = config.kv_lora_rank, rope_dim = config.qk_rope_head_dim;
  const int qk = config.qk_nope_head_dim + rope_dim;
  Real* norm1 = a.norm1.get(elements(n, hidden));
  rmsnorm_forward(context, x, hidden, value(w.norm1), n, hidden, epsilon, norm1,
                  a.rstd1.get(elements(n, 1)));
  Real* q = a.q.get(elements(n, w.q_up.out));
  if (config.q_lora_rank > 0) {
    const int rank = config.q_lora_rank;
    Real* latent = a.q_latent.get(elements(n, rank));
    Real* norm = a.q_norm.get(elements(n, rank));
    linear_forward(context, norm1, n, weight(w.q_down), latent);
    rmsnorm_forward(context, latent, rank, value(w.q_norm), n, rank, epsilon, norm,
                    a.q_rstd.get(elements(n, 1)));
    linear_forward(context, norm, n, weight(w.q_up), q);
  } else {
    linear_forward(context, norm1, n, weight(w.q_up), q);
  }
  kernels::rope(context, rope, batch.positions.data(), n, config.num_attention_heads,
                q + config.qk_nope_head_dim, w.q_up.out, qk);
  Real* latent = a.kv_latent.get(elements(n, lora + rope_dim));
  linear_forward(context, norm1, n, weight(w.kv_down), latent);
  rmsnorm_forward(context, latent, lora + rope_dim, value(w.kv_norm), n, lora, epsilon,
                  a.kv_norm.get(elements(n, lora)), a.kv_rstd.get(elements(n, 1)));
  Real* k_rope = a.k_rope.get(elements(n, rope_dim));
  for (int t = 0; t < n; ++t) {
    std::copy_n(latent + t * (lora + rope_dim) + lora, rope_dim, k_rope + t * rope_dim);
  }
  kernels::rope(context, rope, batch.positions.data(), n, 1, k_rope, rope_dim, rope_dim);
}

void StageModel::Impl::attend_cached(int slot, int layer) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  Activations& activations = live(slot);
  LayerActivations& a = activations.layers[static_cast<std::size_t>(layer)];
  LayerWeights& w = weights.layers[static_cast<std::size_t>(layer)];
  WEFT_CHECK(static_cast<std::size_t>(slot) < caches.size() &&
                 !caches[static_cast<std::size_t>(slot)].empty(),
             "no cache was opened for slot " + std::to_string(slot));
  LatentCache& cache = caches[static_cast<std::size_t>(slot)][static_cast<std::size_t>(layer)];
  const int n = batch.num_tokens();
  std::vector<std::int32_t>& rows = activations.cache_rows;
  rows.clear();
  for (int s = 0; s < batch.num_sequences(); ++s) {
    const auto index = static_cast<std::size_t>(s);
    rows.resize(static_cast<std::size_t>(batch.sequence_begin[index + 1]), batch.cache_row[index]);
  }
  for (int t = 0; t < n; ++t) {
    const auto token = static_cast<std::size_t>(t);
    cache.store(rows[token], batch.positions[token],
                a.kv_norm.data() + static_cast<std::ptrdiff_t>(t) * config.kv_lora_rank,
                a.k_rope.data() + static_cast<std::ptrdiff_t>(t) * config.qk_rope_head_dim);
  }
  mla_decode(context, attention_shape, cache, n, rows.data(), batch.positions.data(), a.q.data(),
             set.values_data() + w.kv_up.offset, a.attended.data());
}

void StageModel::Impl::route(int slot, int layer) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  LayerActivations& a = live(slot).layers[static_cast<std::size_t>(layer)];
  LayerWeights& w = weights.layers[static_cast<std::size_t>(layer)];
  const int n = batch.num_tokens(), top_k = config.num_experts_per_tok;
  const std::size_t all = elements(n, config.n_routed_experts);
  Real* logits_of_gate = context.scratch(kRouterLogits, all).data();
  linear_forward(context, a.norm2.data(), n, weight(w.gate), logits_of_gate);
  if (a.chosen.size() < elements(n, top_k)) a.chosen.resize(elements(n, top_k));
  router_forward(context, router_shape, logits_of_gate, value(w.selection_bias), n,
                 a.scores.get(all), a.chosen.data(), a.gate_weight.get(elements(n, top_k)));
  if (batch.mode != Mode::Train) return;
  auto& load = expert_load[static_cast<std::size_t>(layer)];
  for (std::size_t i = 0; i < elements(n, top_k); ++i) {
    load[static_cast<std::size_t>(a.chosen[i])] += 1;
  }
}

void StageModel::Impl::attention(int slot, int layer) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  LayerActivations& a = live(slot).layers[static_cast<std::size_t>(layer)];
  LayerWeights& w = weights.layers[static_cast<std::size_t>(layer)];
  const int n = batch.num_tokens(), hidden = config.hidden_size;
  const Real* x = layer_input(slot, layer);
  project(batch, w, a, x);
  Real* attended = a.attended.get(elements(n, w.out.in));
  if (batch.mode == Mode::Decode) {
    attend_cached(slot, layer);
  } else {
    Real* kv = a.kv.get(elements(n, w.kv_up.out));
    linear_forward(context, a.kv_norm.data(), n, weight(w.kv_up), kv);
    causal_attention_forward(context, attention_shape, batch.sequence_begin, a.q.data(), kv,
                             a.k_rope.data(), config.qk_rope_head_dim, attended);
  }
  Real* middle = a.middle.get(elements(n, hidden));
  std::copy_n(x, elements(n, hidden), middle);
  linear_forward(context, attended, n, weight(w.out), middle, true);
  rmsnorm_forward(context, middle, hidden, value(w.norm2), n, hidden,
                  static_cast<Real>(config.rms_norm_eps), a.norm2.get(elements(n, hidden)),
                  a.rstd2.get(elements(n, 1)));
  if (w.moe) route(slot, layer);
}

/// d_norm2 += what the gate weights ask for.
void StageModel::Impl::gate_backward(int slot, int layer) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens();
  LayerActivations& a = live(slot).layers[static_cast<std::size_t>(layer)];
  LayerWeights& w = weights.layers[static_cast<std::size_t>(layer)];
  Real* d_router = a.d_router.get(elements(n, config.n_routed_experts));
  router_backward(context, router_shape, a.d_gate_weight.data(), a.scores.data(), a.chosen.data(),
                  n, d_router);
  linear_backward_input(context, d_router, n, weight(w.gate), a.d_norm2.data(), true);
}

void StageModel::Impl::attention_backward_input(int slot, int layer) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  LayerActivations& a = live(slot).layers[static_cast<std::size_t>(layer)];
  LayerWeights& w = weights.layers[static_cast<std::size_t>(layer)];
  const int n = batch.num_tokens(), hidden = config.hidden_size;
  const int lora = config.kv_lora_rank, rope_dim = config.qk_rope_head_dim;
  const int rank = config.q_lora_rank, heads = config.num_attention_heads;
  const int qk = config.qk_nope_head_dim + rope_dim;
  if (w.moe) gate_backward(slot, layer);

  const std::size_t norm_sizes = elements(1, 2 * hidden + rank + lora);
  Real* d_norm1_weight = a.d_norm_weights.get(norm_sizes);
  std::fill_n(d_norm1_weight, norm_sizes, Real(0));
  Real* d_norm2_weight = d_norm1_weight + hidden;
  Real* d_q_norm_weight = d_norm2_weight + hidden;
  Real* d_kv_norm_weight = d_q_norm_weight + rank;

  Real* d_middle = a.d_middle.get(elements(n, hidden));
  std::copy_n(layer_output_gradient(slot, layer), elements(n, hidden), d_middle);
  rmsnorm_backward(context, a.d_norm2.data(), a.middle.data(), hidden, value(w.norm2),
                   a.rstd2.data(), n, hidden, d_middle, hidden, true, d_norm2_weight);

  Real* d_attended = context.scratch(kDAttended, elements(n, w.out.in)).data();
  linear_backward_input(context, d_middle, n, weight(w.out), d_attended);
  Real* dq = a.dq.get(elements(n, w.q_up.out));
  Real* d_kv = a.d_kv.get(elements(n, w.kv_up.out));
  Real* d_k_rope = context.scratch(kDKRope, elements(n, rope_dim)).data();
  causal_attention_backward(context, attention_shape, batch.sequence_begin, a.q.data(), a.kv.data(),
                            a.k_rope.data(), rope_dim, d_attended, dq, d_kv, d_k_rope);
  kernels::rope(context, rope, batch.positions.data(), n, heads, dq + config.qk_nope_head_dim,
                w.q_up.out, qk, true);
  kernels::rope(context, rope, batch.positions.data(), n, 1, d_k_rope, rope_dim, rope_dim, true);

  const int latent_width = lora + rope_dim;
  Real* d_kv_latent = a.d_kv_latent.get(elements(n, latent_width));
  Real* d_latent_norm = context.scratch(kDLatent, elements(n, std::max(lora, rank))).data();
  linear_backward_input(context, d_kv, n, weight(w.kv_up), d_latent_norm);
  rmsnorm_backward(context, d_latent_norm, a.kv_latent.data(), latent_width, value(w.kv_norm),
                   a.kv_rstd.data(), n, lora, d_kv_latent, latent_width, false, d_kv_norm_weight);
  for (int t = 0; t < n; ++t) {
    std::copy_n(d_k_rope + t * rope_dim, rope_dim, d_kv_latent + t * latent_width + lora);
  }
  Real* d_norm1 = context.scratch(kDNorm, elements(n, hidden)).data();
  linear_backward_input(context, d_kv_latent, n, weight(w.kv_down), d_norm1);
  if (rank > 0) {
    Real* d_q_latent = a.d_q_latent.get(elements(n, rank));
    linear_backward_input(context, dq, n, weight(w.q_up), d_latent_norm);
    rmsnorm_backward(context, d_latent_norm, a.q_latent.data(), rank, value(w.q_norm),
                     a.q_rstd.data(), n, rank, d_q_latent, rank, false, d_q_norm_weight);
    linear_backward_input(context, d_q_latent, n, weight(w.q_down), d_norm1, true);
  } else {
    linear_backward_input(context, dq, n, weight(w.q_up), d_norm1, true);
  }
  Real* d_input = a.d_input.get(elements(n, hidden));
  std::copy_n(d_middle, elements(n, hidden), d_input);
  rmsnorm_backward(context, d_norm1, layer_input(slot, layer), hidden, value(w.norm1),
                   a.rstd1.data(), n, hidden, d_input, hidden, true, d_norm1_weight);
}

void StageModel::Impl::attention_backward_weights(int slot, int layer) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens();
  LayerActivations& a = live(slot).layers[static_cast<std::size_t>(layer)];
  LayerWeights& w = weights.layers[static_cast<std::size_t>(layer)];
  const int hidden = config.hidden_size, rank = config.q_lora_rank;
  if (w.moe) add_weight_gradient(w.gate, a.d_router.data(), a.norm2.data(), n);
  add_weight_gradient(w.out, a.d_middle.data(), a.attended.data(), n);
  add_weight_gradient(w.kv_up, a.d_kv.data(), a.kv_norm.data(), n);
  add_weight_gradient(w.kv_down, a.d_kv_latent.data(), a.norm1.data(), n);
  if (rank > 0) {
    add_weight_gradient(w.q_up, a.dq.data(), a.q_norm.data(), n);
    add_weight_gradient(w.q_down, a.d_q_latent.data(), a.norm1.data(), n);
  } else {
    add_weight_gradient(w.q_up, a.dq.data(), a.norm1.data(), n);
  }
  const Real* d_norms = a.d_norm_weights.data();
  add_vector_gradient(w.norm1, d_norms);
  add_vector_gradient(w.norm2, d_norms + hidden);
  if (rank > 0) add_vector_gradient(w.q_norm, d_norms + 2 * hidden);
  add_vector_gradient(w.kv_norm, d_norms + 2 * hidden + rank);
}

}  // namespace weft::trainer

// Attention phase of a layer: norm, attention, residual, second norm, gate. Multi-head latent
// attention is here, grouped-query attention in gqa_block.cpp.
#include <algorithm>

#include "base/check.h"
#include "trainer/kernels/balance_loss.h"
#include "trainer/kernels/convert.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/model/stage_impl.h"

namespace weft::trainer {

using namespace kernels;

/// The compressed latents of queries, keys and values.
template <class Act>
void StageImpl<Act>::down_project(int slot, int layer) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens();
  const auto [a, w] = at(slot, layer);
  const int latent_width = config.kv_lora_rank + config.qk_rope_head_dim;
  const Act* x = norm1(slot, layer);
  if (config.q_lora_rank > 0) {
    linear.forward(context, w.q_down, x, n, take(a.q_latent, elements(n, config.q_lora_rank)));
  }
  linear.forward(context, w.kv_down, x, n, take(a.kv_latent, elements(n, latent_width)));
}

/// From the latents: queries and keys (rotated) and, but for decoding, each head's keys and values.
template <class Act>
void StageImpl<Act>::up_project(int slot, int layer) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  const auto [a, w] = at(slot, layer);
  const int n = batch.num_tokens();
  const int lora = config.kv_lora_rank, rope_dim = config.qk_rope_head_dim;
  if (!a.q.held()) {
    const bool low_rank = config.q_lora_rank > 0;
    Act* q = take(a.q, elements(n, w.q_up.out));
    linear.forward(context, w.q_up, low_rank ? q_norm(slot, layer) : norm1(slot, layer), n, q);
    kernels::rope(context, rope, batch.positions.data(), n, config.num_attention_heads,
                  q + config.qk_nope_head_dim, w.q_up.out, config.qk_nope_head_dim + rope_dim);
  }
  const Act* latent = a.kv_latent.data();
  Act* k_rope = take(a.k_rope, elements(n, rope_dim));
  for (int t = 0; t < n; ++t) {
    std::copy_n(latent + t * (lora + rope_dim) + lora, rope_dim, k_rope + t * rope_dim);
  }
  kernels::rope(context, rope, batch.positions.data(), n, 1, k_rope, rope_dim, rope_dim);
  const Act* normed = kv_norm(slot, layer);
  if (batch.mode == Mode::Decode) return;
  linear.forward(context, w.kv_up, normed, n, take(a.kv, elements(n, w.kv_up.out)));
}

/// Decode: the cache row of each token.
template <class Act>
const std::vector<std::int32_t>& StageImpl<Act>::cache_rows(int slot) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  std::vector<std::int32_t>& rows = live(slot).cache_rows;
  rows.clear();
  for (int s = 0; s < batch.num_sequences(); ++s) {
    const auto index = static_cast<std::size_t>(s);
    rows.resize(static_cast<std::size_t>(batch.sequence_begin[index + 1]), batch.cache_row[index]);
  }
  return rows;
}

template <class Act>
void StageImpl<Act>::attend_cached(int slot, int layer) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  const auto [a, w] = at(slot, layer);
  WEFT_CHECK(static_cast<std::size_t>(slot) < caches.size() &&
                 !caches[static_cast<std::size_t>(slot)].empty(),
             "no cache was opened for slot " + std::to_string(slot));
  LatentCache& cache = caches[static_cast<std::size_t>(slot)][static_cast<std::size_t>(layer)];
  const int n = batch.num_tokens();
  const std::vector<std::int32_t>& rows = cache_rows(slot);
  for (int t = 0; t < n; ++t) {
    const auto token = static_cast<std::size_t>(t);
    cache.store(rows[token], batch.positions[token],
                a.kv_norm.data() + static_cast<std::ptrdiff_t>(t) * config.kv_lora_rank,
                a.k_rope.data() + static_cast<std::ptrdiff_t>(t) * config.qk_rope_head_dim);
  }
  mla_decode(context, attention_shape, cache, n, rows.data(), batch.positions.data(), a.q.data(),
             linear.seen(context, w.kv_up), a.attended.data());
}

template <class Act>
void StageImpl<Act>::route(int slot, int layer, bool again) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  LayerActivations<Act>& a = live(slot).layers[static_cast<std::size_t>(layer)];
  LayerWeights& w = weights.layers[static_cast<std::size_t>(layer)];
  const int n = batch.num_tokens(), top_k = config.num_experts_per_tok;
  const std::size_t all = elements(n, config.n_routed_experts);
  Real* logits_of_gate = context.scratch(kRouterLogits, all).data();
  linear.forward(context, w.gate, a.norm2.data(), n, logits_of_gate);
  Real* scores = take(a.scores, all);
  Real* gate_weight = take(a.gate_weight, elements(n, top_k));
  if (again) {
    router_again(context, router_shape, logits_of_gate, selection_bias(w), n, scores,
                 a.chosen.data(), gate_weight);
    return;
  }
  if (a.chosen.size() < elements(n, top_k)) a.chosen.resize(elements(n, top_k));
  router_forward(context, router_shape, logits_of_gate, selection_bias(w), n, scores,
                 a.chosen.data(), gate_weight);
  if (batch.mode == Mode::Score) return;
  auto& load = batch.mode == Mode::Train ? expert_load[static_cast<std::size_t>(layer)]
                                         : decode_load[static_cast<std::size_t>(layer)].chosen;
  for (std::size_t i = 0; i < elements(n, top_k); ++i) {
    load[static_cast<std::size_t>(a.chosen[i])] += 1;
  }
  if (batch.mode != Mode::Train) return;
  if (const double weight = balance_weight(batch); weight > 0) {
    balance_sum +=
        weight * kernels::balance_loss(context, router_shape, batch.sequence_begin, scores);
  }
}

template <class Act>
void StageImpl<Act>::attention(int slot, int layer, bool again) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  const auto [a, w] = at(slot, layer);
  const int n = batch.num_tokens(), hidden = config.hidden_size;
  drop_forward(a);  // nothing of an earlier pass may be taken for this one's
  const bool latent = config.latent_attention();
  latent ? down_project(slot, layer) : project_heads(slot, layer);
  latent ? up_project(slot, layer) : spread_heads(slot, layer);
  Act* attended = take(a.attended, elements(n, w.out.in));
  if (batch.mode == Mode::Decode) {
    latent ? attend_cached(slot, layer) : attend_heads_cached(slot, layer);
  } else {
    causal_attention_forward(context, attention_shape, batch.sequence_begin, a.q.data(),
                             a.kv.data(), a.k_rope.data(), attention_shape.rope, attended);
  }
  Real* middle = take(a.middle, elements(n, hidden));
  std::copy_n(layer_input(slot, layer), elements(n, hidden), middle);
  linear.forward(context, w.out, attended, n, middle, true);
  norm2(slot, layer);
  if (w.moe) route(slot, layer, again);
  if (!again) {
    after_attention(slot, layer);
  } else if (is_fp8()) {
    pack_attention(slot, layer);
  }
}

/// d_norm2 += what the gate weights and the balance loss ask for.
template <class Act>
void StageImpl<Act>::gate_backward(int slot, int layer) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  const int n = batch.num_tokens();
  LayerActivations<Act>& a = live(slot).layers[static_cast<std::size_t>(layer)];
  LayerWeights& w = weights.layers[static_cast<std::size_t>(layer)];
  Real* d_router = take(a.d_router, elements(n, config.n_routed_experts));
  router_backward(context, router_shape, a.d_gate_weight.data(), a.scores.data(), a.chosen.data(),
                  n, d_router);
  if (const double weight = balance_weight(batch); weight > 0) {
    kernels::balance_loss_backward(context, router_shape, batch.sequence_begin, a.scores.data(),
                                   weight, d_router);
  }
  linear.backward_input(context, w.gate, d_router, n, a.d_norm2.data(), true);
}

template <class Act>
void StageImpl<Act>::attention_backward_input(int slot, int layer) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  LayerActivations<Act>& a = live(slot).layers[static_cast<std::size_t>(layer)];
  LayerWeights& w = weights.layers[static_cast<std::size_t>(layer)];
  const int n = batch.num_tokens(), hidden = config.hidden_size;
  const bool latent = config.latent_attention();
  if (!a.kv.held()) latent ? up_project(slot, layer) : spread_heads(slot, layer);
  if (w.moe) gate_backward(slot, layer);

  const std::size_t norm_sizes = elements(1, 2 * hidden + w.attention_gains());
  Real* d_norm1_weight = take(a.d_norm_weights, norm_sizes);
  std::fill_n(d_norm1_weight, norm_sizes, Real(0));
  Real* d_norm2_weight = d_norm1_weight + hidden;
  Real* d_gains = d_norm2_weight + hidden;

  Real* d_input = take(a.d_input, elements(n, hidden));
  std::copy_n(layer_output_gradient(slot, layer), elements(n, hidden), d_input);
  rmsnorm_backward(context, a.d_norm2.data(), a.middle.data(), hidden, value(w.norm2),
                   a.rstd2.data(), n, hidden, d_input, hidden, true, d_norm2_weight);
  Act* d_middle = take(a.d_middle, elements(n, hidden));
  convert(d_input, elements(n, hidden), d_middle);

  Act* d_attended = context.scratch<Act>(kDAttended, elements(n, w.out.in)).data();
  linear.backward_input(context, w.out, d_middle, n, d_attended);
  Real* d_norm1 = context.scratch(kDNorm, elements(n, hidden)).data();
  if (latent) {
    latent_backward_input(slot, layer, d_attended, d_gains, d_norm1);
  } else {
    heads_backward_input(slot, layer, d_attended, d_gains, d_norm1);
  }
  rmsnorm_backward(context, d_norm1, layer_input(slot, layer), hidden, value(w.norm1),
                   a.rstd1.data(), n, hidden, d_input, hidden, true, d_norm1_weight);
  after_attention_backward_input(slot, layer);
}

/// From the attention's result to the first norm's: d_norm1 is overwritten. d_gains: gradients of
/// the latents' norms, zero before.
template <class Act>
void StageImpl<Act>::latent_backward_input(int slot, int layer, const Act* d_attended,
                                           Real* d_gains, Real* d_norm1) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  const auto [a, w] = at(slot, layer);
  const int n = batch.num_tokens();
  const int lora = config.kv_lora_rank, rope_dim = config.qk_rope_head_dim;
  const int rank = config.q_lora_rank, heads = config.num_attention_heads;
  const int qk = config.qk_nope_head_dim + rope_dim;
  Real* d_q_norm_weight = d_gains;
  Real* d_kv_norm_weight = d_q_norm_weight + rank;
  Act* dq = take(a.dq, elements(n, w.q_up.out));
  Act* d_kv = take(a.d_kv, elements(n, w.kv_up.out));
  Real* d_k_rope = context.scratch(kDKRope, elements(n, rope_dim)).data();
  causal_attention_backward(context, attention_shape, batch.sequence_begin, a.q.data(), a.kv.data(),
                            a.k_rope.data(), rope_dim, d_attended, dq, d_kv, d_k_rope);
  kernels::rope(context, rope, batch.positions.data(), n, heads, dq + config.qk_nope_head_dim,
                w.q_up.out, qk, true);
  kernels::rope(context, rope, batch.positions.data(), n, 1, d_k_rope, rope_dim, rope_dim, true);

  const int latent_width = lora + rope_dim;
  Act* d_kv_latent = take(a.d_kv_latent, elements(n, latent_width));
  Act* d_latent_norm = context.scratch<Act>(kDLatent, elements(n, std::max(lora, rank))).data();
  linear.backward_input(context, w.kv_up, d_kv, n, d_latent_norm);
  rmsnorm_backward(context, d_latent_norm, a.kv_latent.data(), latent_width, value(w.kv_norm),
                   a.kv_rstd.data(), n, lora, d_kv_latent, latent_width, false, d_kv_norm_weight);
  for (int t = 0; t < n; ++t) {
    convert(d_k_rope + t * rope_dim, static_cast<std::size_t>(rope_dim),
            d_kv_latent + t * latent_width + lora);
  }
  linear.backward_input(context, w.kv_down, d_kv_latent, n, d_norm1);
  if (rank > 0) {
    Act* d_q_latent = take(a.d_q_latent, elements(n, rank));
    linear.backward_input(context, w.q_up, dq, n, d_latent_norm);
    rmsnorm_backward(context, d_latent_norm, a.q_latent.data(), rank, value(w.q_norm),
                     a.q_rstd.data(), n, rank, d_q_latent, rank, false, d_q_norm_weight);
    linear.backward_input(context, w.q_down, d_q_latent, n, d_norm1, true);
  } else {
    linear.backward_input(context, w.q_up, dq, n, d_norm1, true);
  }
}

template <class Act>
void StageImpl<Act>::attention_backward_weights(int slot, int layer) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens();
  LayerActivations<Act>& a = live(slot).layers[static_cast<std::size_t>(layer)];
  LayerWeights& w = weights.layers[static_cast<std::size_t>(layer)];
  const int hidden = config.hidden_size;
  if (w.moe) linear.backward_weight(context, w.gate, a.d_router.data(), norm2(slot, layer), n);
  linear.backward_weight(context, w.out, a.d_middle.data(), attended_for_weights(slot, layer), n);
  const Real* d_norms = a.d_norm_weights.data();
  add_vector_gradient(w.norm1, d_norms);
  add_vector_gradient(w.norm2, d_norms + hidden);
  if (config.latent_attention()) {
    latent_backward_weights(slot, layer, d_norms + 2 * hidden);
  } else {
    heads_backward_weights(slot, layer, d_norms + 2 * hidden);
  }
  after_attention_backward_weights(slot, layer);
}

template <class Act>
void StageImpl<Act>::latent_backward_weights(int slot, int layer, const Real* d_gains) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens();
  const auto [a, w] = at(slot, layer);
  const int rank = config.q_lora_rank;
  const auto of_norm1 = [&] { return norm1(slot, layer); };
  add_gradient(w.kv_up, a.d_kv.data(), n, a.kv_norm_fp8, [&] { return kv_norm(slot, layer); });
  add_gradient(w.kv_down, a.d_kv_latent.data(), n, a.norm1_fp8, of_norm1);
  if (rank > 0) {
    add_gradient(w.q_up, a.dq.data(), n, a.q_norm_fp8, [&] { return q_norm(slot, layer); });
    add_gradient(w.q_down, a.d_q_latent.data(), n, a.norm1_fp8, of_norm1);
  } else {
    add_gradient(w.q_up, a.dq.data(), n, a.norm1_fp8, of_norm1);
  }
  if (rank > 0) add_vector_gradient(w.q_norm, d_gains);
  add_vector_gradient(w.kv_norm, d_gains + rank);
}

#define WEFT_INSTANTIATE(Act)                                                \
  template void StageImpl<Act>::attention(int, int, bool);                   \
  template const std::vector<std::int32_t>& StageImpl<Act>::cache_rows(int); \
  template void StageImpl<Act>::attention_backward_input(int, int);          \
  template void StageImpl<Act>::attention_backward_weights(int, int);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer

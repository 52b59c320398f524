// Grouped-query attention: what attention_block.cpp asks of a layer without latents. Several query
// heads share a head of keys and values; all of a head is rotated, in halves.
//
// The attention kernel knows heads of their own only, so keys and values are copied side by side
// for every query head just before it, and what it says of their gradients is summed over the heads
// that share them, in ascending order. The copies live no longer than the phase.
#include <algorithm>

#include "base/check.h"
#include "trainer/kernels/convert.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/kernels/rope_halves.h"
#include "trainer/model/stage_impl.h"

namespace weft::trainer {

using namespace kernels;

namespace {

template <class Act>
void add_bias(const Real* bias, int rows, int width, Act* x) {
  for (int r = 0; r < rows; ++r, x += width) {
    for (int i = 0; i < width; ++i) x[i] = Act(Real(x[i]) + bias[i]);
  }
}

/// d_bias += the sum of the rows.
template <class Act>
void add_rows(const Act* d, int rows, int width, Real* d_bias) {
  for (int r = 0; r < rows; ++r, d += width) {
    for (int i = 0; i < width; ++i) d_bias[i] += Real(d[i]);
  }
}

}  // namespace

/// Queries, keys and values; with qk_norm before the norms, else with their positions.
template <class Act>
void StageImpl<Act>::project_heads(int slot, int layer) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  const auto [a, w] = at(slot, layer);
  const int n = batch.num_tokens();
  const Act* x = norm1(slot, layer);
  Act* q = take(config.qk_norm ? a.q_latent : a.q, elements(n, w.q_up.out));
  Act* k = take(config.qk_norm ? a.kv_latent : a.k_rope, elements(n, w.k.out));
  Act* v = take(a.values, elements(n, w.v.out));
  linear.forward(context, w.q_up, x, n, q);
  linear.forward(context, w.k, x, n, k);
  linear.forward(context, w.v, x, n, v);
  if (config.attention_bias) {
    add_bias(value(w.q_bias), n, w.q_up.out, q);
    add_bias(value(w.k_bias), n, w.k.out, k);
    add_bias(value(w.v_bias), n, w.v.out, v);
  }
  if (config.qk_norm) return;
  rope_halves(context, rope, batch.positions.data(), n, config.num_attention_heads, q);
  rope_halves(context, rope, batch.positions.data(), n, config.num_key_value_heads, k);
}

/// What the attention reads and project_heads has not left: normed queries and keys, and (but for
/// decoding) the copies for every query head.
template <class Act>
void StageImpl<Act>::spread_heads(int slot, int layer) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  const auto [a, w] = at(slot, layer);
  const int n = batch.num_tokens(), dim = config.head_dim;
  const int heads = config.num_attention_heads, kv_heads = config.num_key_value_heads;
  if (config.qk_norm && !a.q.held()) {
    normed(a.q, a.q_rstd, a.q_latent.data(), dim, w.q_norm, n * heads);
    rope_halves(context, rope, batch.positions.data(), n, heads, a.q.data());
  }
  if (config.qk_norm && !a.k_rope.held()) {
    normed(a.k_rope, a.kv_rstd, a.kv_latent.data(), dim, w.kv_norm, n * kv_heads);
    rope_halves(context, rope, batch.positions.data(), n, kv_heads, a.k_rope.data());
  }
  if (batch.mode == Mode::Decode) return;
  Act* kv = take(a.kv, elements(n, 2 * heads * dim));
  for (int t = 0; t < n; ++t) {
    for (int h = 0; h < heads; ++h, kv += 2 * dim) {
      const std::ptrdiff_t from =
          (static_cast<std::ptrdiff_t>(t) * kv_heads + h * kv_heads / heads) * dim;
      std::copy_n(a.k_rope.data() + from, dim, kv);
      std::copy_n(a.values.data() + from, dim, kv + dim);
    }
  }
}

template <class Act>
void StageImpl<Act>::attend_heads_cached(int slot, int layer) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  const auto [a, w] = at(slot, layer);
  WEFT_CHECK(static_cast<std::size_t>(slot) < head_caches.size() &&
                 !head_caches[static_cast<std::size_t>(slot)].empty(),
             "no cache was opened for slot " + std::to_string(slot));
  HeadCache& cache = head_caches[static_cast<std::size_t>(slot)][static_cast<std::size_t>(layer)];
  const std::vector<std::int32_t>& rows = cache_rows(slot);
  for (int t = 0; t < batch.num_tokens(); ++t) {
    const auto token = static_cast<std::size_t>(t);
    const std::ptrdiff_t from = static_cast<std::ptrdiff_t>(t) * w.k.out;
    cache.store(rows[token], batch.positions[token], a.k_rope.data() + from,
                a.values.data() + from);
  }
  gqa_decode(context, cache, config.num_attention_heads, attention_shape.scale, batch.num_tokens(),
             rows.data(), batch.positions.data(), a.q.data(), a.attended.data());
}

/// a.d_kv's copies summed: keys [T, kv_heads, dim] and values, in Real scratch.
template <class Act>
std::pair<Real*, Real*> StageImpl<Act>::gather_heads(const Act* d_kv, int rows) {
  const int heads = config.num_attention_heads, kv_heads = config.num_key_value_heads;
  const int dim = config.head_dim, shared = heads / kv_heads;
  const std::size_t size = elements(rows, kv_heads * dim);
  Real* d_k = context.scratch(kDKRope, 2 * size).data();
  Real* d_v = d_k + size;
  std::fill_n(d_k, 2 * size, Real(0));
  for (int t = 0; t < rows; ++t) {
    for (int h = 0; h < heads; ++h, d_kv += 2 * dim) {
      const std::ptrdiff_t to = (static_cast<std::ptrdiff_t>(t) * kv_heads + h / shared) * dim;
      for (int i = 0; i < dim; ++i) d_k[to + i] += Real(d_kv[i]);
      for (int i = 0; i < dim; ++i) d_v[to + i] += Real(d_kv[dim + i]);
    }
  }
  return {d_k, d_v};
}

/// d_gains: gradients of q_norm, k_norm and of the biases, as far as there are any; zero before.
template <class Act>
void StageImpl<Act>::heads_backward_input(int slot, int layer, const Act* d_attended, Real* d_gains,
                                          Real* d_norm1) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  const auto [a, w] = at(slot, layer);
  const int n = batch.num_tokens(), dim = config.head_dim;
  const int heads = config.num_attention_heads, kv_heads = config.num_key_value_heads;
  Act* dq = take(a.dq, elements(n, w.q_up.out));
  Act* d_spread = take(a.d_kv, elements(n, 2 * heads * dim));
  Real* none = context.scratch(kDLatent, 1).data();  // no part of a key is shared by all heads
  causal_attention_backward(context, attention_shape, batch.sequence_begin, a.q.data(), a.kv.data(),
                            a.q.data(), 0, d_attended, dq, d_spread, none);
  const auto [d_k_sum, d_v_sum] = gather_heads(d_spread, n);
  drop(a.d_kv, a.kv);
  rope_halves(context, rope, batch.positions.data(), n, heads, dq, true);
  rope_halves(context, rope, batch.positions.data(), n, kv_heads, d_k_sum, true);

  Act* d_k = take(a.d_kv_latent, elements(n, w.k.out));
  if (config.qk_norm) {
    Act* d_q_latent = take(a.d_q_latent, elements(n, w.q_up.out));
    rmsnorm_backward(context, dq, a.q_latent.data(), dim, value(w.q_norm), a.q_rstd.data(),
                     n * heads, dim, d_q_latent, dim, false, d_gains);
    rmsnorm_backward(context, d_k_sum, a.kv_latent.data(), dim, value(w.kv_norm), a.kv_rstd.data(),
                     n * kv_heads, dim, d_k, dim, false, d_gains + dim);
    d_gains += 2 * dim;
  } else {
    convert(d_k_sum, elements(n, w.k.out), d_k);
  }
  Act* d_v = take(a.d_values, elements(n, w.v.out));
  convert(d_v_sum, elements(n, w.v.out), d_v);
  const Act* d_q = config.qk_norm ? a.d_q_latent.data() : dq;
  if (config.attention_bias) {
    add_rows(d_q, n, w.q_up.out, d_gains);
    add_rows(d_k, n, w.k.out, d_gains + w.q_up.out);
    add_rows(d_v, n, w.v.out, d_gains + w.q_up.out + w.k.out);
  }
  linear.backward_input(context, w.q_up, d_q, n, d_norm1);
  linear.backward_input(context, w.k, d_k, n, d_norm1, true);
  linear.backward_input(context, w.v, d_v, n, d_norm1, true);
}

template <class Act>
void StageImpl<Act>::heads_backward_weights(int slot, int layer, const Real* d_gains) {
  const auto [a, w] = at(slot, layer);
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens();
  const auto x = [&] { return norm1(slot, layer); };
  const Act* d_q = config.qk_norm ? a.d_q_latent.data() : a.dq.data();
  add_gradient(w.q_up, d_q, n, a.norm1_fp8, x);
  add_gradient(w.k, a.d_kv_latent.data(), n, a.norm1_fp8, x);
  add_gradient(w.v, a.d_values.data(), n, a.norm1_fp8, x);
  for (const Vector1* gain : {&w.q_norm, &w.kv_norm, &w.q_bias, &w.k_bias, &w.v_bias}) {
    if (gain->offset < 0) continue;
    add_vector_gradient(*gain, d_gains);
    d_gains += gain->size;
  }
}

#define WEFT_INSTANTIATE(Act)                                                             \
  template void StageImpl<Act>::project_heads(int, int);                                  \
  template void StageImpl<Act>::spread_heads(int, int);                                   \
  template void StageImpl<Act>::attend_heads_cached(int, int);                            \
  template void StageImpl<Act>::heads_backward_input(int, int, const Act*, Real*, Real*); \
  template void StageImpl<Act>::heads_backward_weights(int, int, const Real*);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer

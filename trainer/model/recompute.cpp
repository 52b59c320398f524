// How long each activation lives, and what is computed again for it.
//
//   none    everything that the backward reads is kept from the forward
//   mla_up  the results of the norms and of the up-projections are dropped after the block's
//   forward
//           and computed again, each just before the phase that reads it; nothing made again
//           outlives its phase, so that a late weight gradient makes the norms once more
//   full    a block keeps its input and the chosen experts; attention, dispatch and experts run
//           again before its backward, and what they leave lives, as with none, until its weight
//           gradients are done
//
// Source: DeepSeek-V3 report, section 3.2.3 (mla_up).
#include "trainer/kernels/rmsnorm.h"
#include "trainer/model/stage_impl.h"

namespace weft::trainer {

std::string_view to_string(Recompute recompute) {
  switch (recompute) {
    case Recompute::None:
      return "none";
    case Recompute::MlaUp:
      return "mla_up";
    case Recompute::Full:
      return "full";
  }
  return "?";
}

Expected<Recompute> parse_recompute(std::string_view text) {
  for (const Recompute r : {Recompute::None, Recompute::MlaUp, Recompute::Full}) {
    if (text == to_string(r)) return r;
  }
  return fail(Code::InvalidArgument,
              "unknown recomputation '" + std::string(text) + "'; none, mla_up or full");
}

/// The rows' norm: as it is kept, or made now.
template <class Act>
template <class X>
const Act* StageImpl<Act>::normed(Buffer<Act>& kept, Buffer<Real>& rstd, const X* x, int ldx,
                                  const Vector1& gain, int rows) {
  if (kept.held()) return kept.data();
  kernels::rmsnorm_forward(context, x, ldx, value(gain), rows, gain.size,
                           static_cast<Real>(config.rms_norm_eps),
                           take(kept, elements(rows, gain.size)), take(rstd, elements(rows, 1)));
  return kept.data();
}

template <class Act>
const Act* StageImpl<Act>::norm1(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  return normed(a.norm1, a.rstd1, layer_input(slot, layer), config.hidden_size, w.norm1,
                batches[static_cast<std::size_t>(slot)].num_tokens());
}

template <class Act>
const Act* StageImpl<Act>::norm2(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  return normed(a.norm2, a.rstd2, a.middle.data(), config.hidden_size, w.norm2,
                batches[static_cast<std::size_t>(slot)].num_tokens());
}

template <class Act>
const Act* StageImpl<Act>::q_norm(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  return normed(a.q_norm, a.q_rstd, a.q_latent.data(), config.q_lora_rank, w.q_norm,
                batches[static_cast<std::size_t>(slot)].num_tokens());
}

template <class Act>
const Act* StageImpl<Act>::kv_norm(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  return normed(a.kv_norm, a.kv_rstd, a.kv_latent.data(),
                config.kv_lora_rank + config.qk_rope_head_dim, w.kv_norm,
                batches[static_cast<std::size_t>(slot)].num_tokens());
}

template <class Act>
const Act* StageImpl<Act>::head_norm(HeadActivations<Act>& h) {
  return normed(h.norm, h.rstd, h.picked.data(), config.hidden_size, weights.norm,
                static_cast<int>(h.rows.size()));
}

template <class Act>
void StageImpl<Act>::drop_forward(LayerActivations<Act>& a) {
  a.each_forward([this](AnyBuffer& buffer) { buffer.drop(arena); });
}

/// Results of norms and up-projections. Without a low rank the queries come from no latent.
template <class Act>
void StageImpl<Act>::drop_up(LayerActivations<Act>& a) {
  if (!config.latent_attention()) {
    drop(a.norm1, a.kv);
    if (config.qk_norm) drop(a.q, a.k_rope);
    return;
  }
  drop(a.norm1, a.q_norm, a.kv_norm, a.k_rope, a.kv);
  if (config.q_lora_rank > 0) drop(a.q);
}

template <class Act>
void StageImpl<Act>::after_attention(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  if (!config.latent_attention()) drop(a.kv);  // copies
  if (keeps_block(slot)) {
    if (recompute == Recompute::MlaUp) drop_up(a);
    if (is_fp8()) pack_attention(slot, layer);
    return;
  }
  drop(a.norm1, a.rstd1, a.q_latent, a.q_rstd, a.q_norm, a.q, a.kv_latent, a.kv_rstd, a.kv_norm,
       a.k_rope, a.kv, a.values, a.attended, a.rstd2, a.scores);
}

template <class Act>
void StageImpl<Act>::after_experts(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  if (!keeps_block(slot)) {
    drop_forward(a);
    return;
  }
  if (recompute == Recompute::MlaUp) drop(a.norm2);
  if (is_fp8()) pack_experts(slot, layer);
}

template <class Act>
void StageImpl<Act>::after_attention_backward_input(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  drop(a.q, a.kv, a.k_rope, a.values, a.scores, a.d_norm2, a.d_gate_weight);
  if (recompute == Recompute::MlaUp) {
    drop_up(a);
  } else {
    drop(a.q_latent, a.q_rstd, a.kv_latent, a.kv_rstd, a.rstd1, a.middle, a.rstd2);
  }
}

/// The block's last phase; blocks come here in descending order. What the block read from its
/// neighbours has no other reader any more.
template <class Act>
void StageImpl<Act>::after_attention_backward_weights(int slot, int layer) {
  Activations<Act>& all = live(slot);
  LayerActivations<Act>& a = all.layers[static_cast<std::size_t>(layer)];
  drop_forward(a);
  give_layout(a);
  a.each_gradient([this](AnyBuffer& buffer) { buffer.drop(arena); });
  if (layer + 1 < spec.num_layers) {
    drop(all.layers[static_cast<std::size_t>(layer) + 1].d_input);
  } else {
    drop(a.output, all.output_gradient, all.head.d_input);
  }
  drop(layer > 0 ? all.layers[static_cast<std::size_t>(layer) - 1].output : all.input);
}

#define WEFT_INSTANTIATE(Act)                                                                   \
  template const Act* StageImpl<Act>::normed<Act>(Buffer<Act>&, Buffer<Real>&, const Act*, int, \
                                                  const Vector1&, int);                         \
  template const Act* StageImpl<Act>::norm1(int, int);                                          \
  template const Act* StageImpl<Act>::norm2(int, int);                                          \
  template const Act* StageImpl<Act>::q_norm(int, int);                                         \
  template const Act* StageImpl<Act>::kv_norm(int, int);                                        \
  template const Act* StageImpl<Act>::head_norm(HeadActivations<Act>&);                         \
  template void StageImpl<Act>::drop_forward(LayerActivations<Act>&);                           \
  template void StageImpl<Act>::after_attention(int, int);                                      \
  template void StageImpl<Act>::after_experts(int, int);                                        \
  template void StageImpl<Act>::after_attention_backward_input(int, int);                       \
  template void StageImpl<Act>::after_attention_backward_weights(int, int);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer

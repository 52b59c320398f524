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
#include "trainer/model/next_token_block.h"
#include "trainer/model/stage_impl.h"

namespace weft::trainer {

namespace {
std::size_t elements(int rows, int columns) {
  return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
}
}  // namespace

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
const Real* StageModel::Impl::normed(Buffer& kept, Buffer& rstd, const Real* x, int ldx,
                                     const Vector1& gain, int rows) {
  if (kept.held()) return kept.data();
  kernels::rmsnorm_forward(context, x, ldx, value(gain), rows, gain.size,
                           static_cast<Real>(config.rms_norm_eps),
                           take(kept, elements(rows, gain.size)), take(rstd, elements(rows, 1)));
  return kept.data();
}

const Real* StageModel::Impl::norm1(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  return normed(a.norm1, a.rstd1, layer_input(slot, layer), config.hidden_size, w.norm1,
                batches[static_cast<std::size_t>(slot)].num_tokens());
}

const Real* StageModel::Impl::norm2(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  return normed(a.norm2, a.rstd2, a.middle.data(), config.hidden_size, w.norm2,
                batches[static_cast<std::size_t>(slot)].num_tokens());
}

const Real* StageModel::Impl::q_norm(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  return normed(a.q_norm, a.q_rstd, a.q_latent.data(), config.q_lora_rank, w.q_norm,
                batches[static_cast<std::size_t>(slot)].num_tokens());
}

const Real* StageModel::Impl::kv_norm(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  return normed(a.kv_norm, a.kv_rstd, a.kv_latent.data(),
                config.kv_lora_rank + config.qk_rope_head_dim, w.kv_norm,
                batches[static_cast<std::size_t>(slot)].num_tokens());
}

bool StageModel::Impl::trains(int slot) const {
  return batches[static_cast<std::size_t>(slot)].mode == Mode::Train;
}

/// Does the block's backward find what its forward computed?
bool StageModel::Impl::keeps_block(int slot) const {
  return trains(slot) && recompute != Recompute::Full;
}

void StageModel::Impl::drop_forward(LayerActivations& a) {
  a.each_forward([this](Buffer& buffer) { buffer.drop(arena); });
}

/// Results of norms and up-projections. Without a low rank the queries come from no latent.
void StageModel::Impl::drop_up(LayerActivations& a) {
  drop(a.norm1, a.q_norm, a.kv_norm, a.k_rope, a.kv);
  if (config.q_lora_rank > 0) drop(a.q);
}

void StageModel::Impl::after_attention(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  if (keeps_block(slot)) {
    if (recompute == Recompute::MlaUp) drop_up(a);
    return;
  }
  drop(a.norm1, a.rstd1, a.q_latent, a.q_rstd, a.q_norm, a.q, a.kv_latent, a.kv_rstd, a.kv_norm,
       a.k_rope, a.kv, a.attended, a.rstd2, a.scores);
}

void StageModel::Impl::after_experts(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  if (!keeps_block(slot)) {
    drop_forward(a);
  } else if (recompute == Recompute::MlaUp) {
    drop(a.norm2);
  }
}

void StageModel::Impl::after_attention_backward_input(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  drop(a.q, a.kv, a.k_rope, a.scores, a.d_norm2, a.d_gate_weight);
  if (recompute == Recompute::MlaUp) {
    drop_up(a);
  } else {
    drop(a.q_latent, a.q_rstd, a.kv_latent, a.kv_rstd, a.rstd1, a.middle, a.rstd2);
  }
}

/// The block's last phase; blocks come here in descending order. What the block read from its
/// neighbours has no other reader any more.
void StageModel::Impl::after_attention_backward_weights(int slot, int layer) {
  Activations& all = live(slot);
  LayerActivations& a = all.layers[static_cast<std::size_t>(layer)];
  drop_forward(a);
  give_layout(a);
  a.each_gradient([this](Buffer& buffer) { buffer.drop(arena); });
  if (layer + 1 < spec.num_layers) {
    drop(all.layers[static_cast<std::size_t>(layer) + 1].d_input);
  } else {
    drop(a.output, all.output_gradient, all.head.d_input);
  }
  drop(layer > 0 ? all.layers[static_cast<std::size_t>(layer) - 1].output : all.input);
}

ActivationBytes StageModel::activation_bytes() const {
  const Arena& arena = impl_->arena;
  return {arena.live_bytes(), arena.peak_bytes(), arena.reserved_bytes()};
}

std::size_t StageModel::activation_bytes(int slot) const {
  const auto& held = impl_->slots.at(static_cast<std::size_t>(slot));
  if (held == nullptr) return 0;
  std::size_t sum = impl_->next != nullptr ? impl_->next->bytes(slot) : 0;
  held->each([&](const Buffer& buffer) { sum += buffer.bytes(); });
  for (const LayerActivations& layer : held->layers) sum += layer.layout_bytes;
  return sum;
}

void StageModel::clear_activation_peak() { impl_->arena.reset_peak(); }

}  // namespace weft::trainer

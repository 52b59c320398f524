// The last stage's end: final norm, output head, log-probabilities, loss and their way back. Only
// tokens that have a loss (Decode: each sequence's last) are computed.
#include <algorithm>
#include <type_traits>

#include "base/check.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/kernels/softmax_head.h"
#include "trainer/model/stage_impl.h"
#include "trainer/rl/grpo.h"

namespace weft::trainer {

using namespace kernels;

namespace {

void clear_output(HeadOutput& out, const MicroBatch& batch) {
  const auto n = static_cast<std::size_t>(batch.num_tokens());
  const bool grpo = batch.loss == LossKind::Grpo;
  out.logprob.assign(n, 0.0f);
  out.loss.assign(n, 0.0f);
  out.entropy.assign(n, 0.0f);
  out.kl.assign(grpo && batch.grpo.beta > 0 ? n : 0, 0.0f);
  out.clipped.assign(grpo ? n : 0, 0);
}

/// Loss and its derivative by the log-probability at token t, weight included.
rl::TokenLoss loss_of_token(const MicroBatch& batch, std::size_t t, double logprob) {
  const double weight = batch.weight[t];
  if (batch.loss == LossKind::CrossEntropy) return {-weight * logprob, -weight, 0, false};
  const double reference = batch.grpo.beta > 0 ? batch.ref_logprob[t] : 0.0;
  rl::TokenLoss loss =
      rl::token_loss(logprob, batch.old_logprob[t], reference, batch.advantage[t], batch.grpo);
  loss.loss *= weight;
  loss.d_logprob *= weight;
  return loss;
}

}  // namespace

template <class Act>
void StageImpl<Act>::pick_rows(const MicroBatch& batch, HeadActivations<Act>& h) {
  h.rows.clear();
  h.targets.clear();
  if (batch.mode == Mode::Decode) {
    for (int s = 0; s < batch.num_sequences(); ++s) {
      h.rows.push_back(batch.sequence_begin[static_cast<std::size_t>(s) + 1] - 1);
    }
    return;
  }
  for (int t = 0; t < batch.num_tokens(); ++t) {
    const std::int32_t target = batch.targets[static_cast<std::size_t>(t)];
    if (target < 0) continue;
    WEFT_CHECK(target < config.vocab_size, "target outside the vocabulary");
    h.rows.push_back(t);
    h.targets.push_back(target);
  }
}

/// Fills head_output; in Train, makes the gradient of the logits. The logits are dropped.
template <class Act>
void StageImpl<Act>::losses(int slot, HeadActivations<Act>& h) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  HeadOutput& out = head_outputs[static_cast<std::size_t>(slot)];
  clear_output(out, batch);
  double& sum = loss_sums[static_cast<std::size_t>(slot)];
  sum = 0;
  const int rows = static_cast<int>(h.rows.size()), vocab = config.vocab_size;
  const std::size_t n = h.rows.size();
  Real* logprob = context.scratch(kRouterLogits, 4 * n).data();
  Real* entropy = logprob + n;
  Real* log_sum = entropy + n;
  Real* d_logprob = log_sum + n;
  log_softmax_forward(context, h.logits.data(), h.targets.data(), rows, vocab, logprob, entropy,
                      log_sum);
  for (std::size_t r = 0; r < n; ++r) {
    const auto t = static_cast<std::size_t>(h.rows[r]);
    const rl::TokenLoss loss = loss_of_token(batch, t, logprob[r]);
    out.logprob[t] = static_cast<float>(logprob[r]);
    out.entropy[t] = static_cast<float>(entropy[r]);
    out.loss[t] = static_cast<float>(loss.loss);
    sum += loss.loss;
    if (!out.kl.empty()) out.kl[t] = static_cast<float>(loss.kl);
    if (!out.clipped.empty()) out.clipped[t] = loss.clipped ? 1 : 0;
    d_logprob[r] = static_cast<Real>(loss.d_logprob);
  }
  if (batch.mode == Mode::Train) {
    const Real* made = h.logits.data();
    if constexpr (std::is_same_v<Act, Real>) {
      h.d_logits = std::move(h.logits);  // the gradient takes its place
    } else {
      take(h.d_logits, elements(rows, vocab));
    }
    log_softmax_backward(context, made, h.targets.data(), rows, vocab, log_sum, d_logprob,
                         h.d_logits.data());
  }
  drop(h.logits);
}

template <class Act>
void StageImpl<Act>::head(int slot) {
  const MicroBatch& batch = batches[static_cast<std::size_t>(slot)];
  HeadActivations<Act>& h = live(slot).head;
  const int hidden = config.hidden_size;
  pick_rows(batch, h);
  const int rows = static_cast<int>(h.rows.size());
  const Real* x = layer_input(slot, spec.num_layers);
  Real* picked = take(h.picked, elements(rows, hidden));
  for (int r = 0; r < rows; ++r) {
    std::copy_n(x + static_cast<std::ptrdiff_t>(h.rows[static_cast<std::size_t>(r)]) * hidden,
                hidden, picked + static_cast<std::ptrdiff_t>(r) * hidden);
  }
  drop(h.norm);
  const Act* norm = head_norm(h);
  const std::size_t n = elements(rows, config.vocab_size);
  if (batch.mode == Mode::Decode) {
    auto& kept = logits[static_cast<std::size_t>(slot)];
    if (kept.size() < n) kept.resize(n);
    linear.forward(context, head_matrix(), norm, rows, kept.data());
    drop(h.picked, h.norm, h.rstd);
    return;
  }
  linear.forward(context, head_matrix(), norm, rows, take(h.logits, n));
  losses(slot, h);
  if (recompute != Recompute::None) drop(h.norm);
  if (!trains(slot)) drop(h.picked, h.norm, h.rstd);
}

template <class Act>
void StageImpl<Act>::head_backward_input(int slot) {
  const int hidden = config.hidden_size;
  const std::size_t all = elements(batches[static_cast<std::size_t>(slot)].num_tokens(), hidden);
  HeadActivations<Act>& h = live(slot).head;
  const int rows = static_cast<int>(h.rows.size());
  const std::size_t n = elements(rows, hidden);
  Real* d_norm = context.scratch(kDNorm, n).data();
  linear.backward_input(context, head_matrix(), h.d_logits.data(), rows, d_norm);
  Real* d_norm_weight = take(h.d_norm_weight, elements(1, hidden));
  std::fill_n(d_norm_weight, hidden, Real(0));
  Real* d_picked = context.scratch(kDAttended, n).data();
  rmsnorm_backward(context, d_norm, h.picked.data(), hidden, value(weights.norm), h.rstd.data(),
                   rows, hidden, d_picked, hidden, false, d_norm_weight);
  Real* d_input = take(h.d_input, all);
  std::fill_n(d_input, all, Real(0));
  for (int r = 0; r < rows; ++r) {
    std::copy_n(
        d_picked + static_cast<std::ptrdiff_t>(r) * hidden, hidden,
        d_input + static_cast<std::ptrdiff_t>(h.rows[static_cast<std::size_t>(r)]) * hidden);
  }
}

template <class Act>
void StageImpl<Act>::head_backward_weights(int slot) {
  HeadActivations<Act>& h = live(slot).head;
  linear.backward_weight(context, head_matrix(), h.d_logits.data(), head_norm(h),
                         static_cast<int>(h.rows.size()));
  add_vector_gradient(weights.norm, h.d_norm_weight.data());
  drop(h.picked, h.norm, h.rstd, h.d_logits, h.d_norm_weight);
}

#define WEFT_INSTANTIATE(Act)                             \
  template void StageImpl<Act>::head(int);                \
  template void StageImpl<Act>::head_backward_input(int); \
  template void StageImpl<Act>::head_backward_weights(int);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer

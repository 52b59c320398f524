// Log-probabilities of target tokens from logits, and the way back. The loss itself is a function
// of the log-probability that the caller knows; only its derivative comes in here.
#pragma once

#include <cstdint>

#include "trainer/kernels/context.h"

namespace weft::trainer::kernels {

/// logits: [rows, vocab]; per row: log-probability of targets[r] at temperature 1, entropy of the
/// distribution, and log-sum-exp for backward.
void log_softmax_forward(Context& context, const Real* logits, const std::int32_t* targets,
                         int rows, int vocab, Real* logprob, Real* entropy, Real* log_sum);

/// d_logits [rows, vocab] = d_logprob[r] * (onehot(targets[r]) - softmax). Act: Real, then it may
/// be the memory of the logits, or Bf16.
template <class Act>
void log_softmax_backward(Context& context, const Real* logits, const std::int32_t* targets,
                          int rows, int vocab, const Real* log_sum, const Real* d_logprob,
                          Act* d_logits);

}  // namespace weft::trainer::kernels

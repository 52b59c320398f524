// From sequences to micro-batches: who shares one, in which order, with which weight of the loss.
// Weights are normalised over the whole batch, so nothing depends on how many micro-batches it is
// cut into.
//
// All functions: sequence i of the input has sequence_id i; micro-batches are balanced by tokens
// (longest first, each to the lightest so far), keep the original order inside, and are never
// empty. A sequence of n tokens enters with its first n - 1; each predicts the next.
// Errors: InvalidArgument when there are fewer sequences than micro-batches, when a sequence has
// fewer than two tokens or no prompt, and when no token carries loss.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/expected.h"
#include "trainer/batch.h"
#include "trainer/data/example.h"

namespace weft::trainer::data {

/// Cross-entropy on the completions: weight 1 / (completion tokens of the whole batch).
Expected<std::vector<MicroBatch>> pack_supervised(std::span<const Example> examples,
                                                  int num_micro_batches);

/// As pack_supervised but forward only: the head leaves losses and log-probabilities.
Expected<std::vector<MicroBatch>> pack_score(std::span<const Example> examples,
                                             int num_micro_batches);

/// Language modelling on windows (every token but the first is predicted): weight 1 / (predicted
/// tokens of the whole batch). mode: Train or Score.
Expected<std::vector<MicroBatch>> pack_windows(std::span<const std::vector<std::int32_t>> windows,
                                               int num_micro_batches, Mode mode);

/// A sequence before its tokens are read.
struct SequenceShape {
  int tokens = 0;
  int prompt_length = 1;  // no loss on the first so many
};

/// Cross-entropy on sequences that are read only where they are needed: micro-batch b holds tokens
/// if wanted(b); of the others only sequence_begin and sequence_id are there. Who shares a
/// micro-batch, and every weight, is as in pack_supervised and depends on the shapes alone.
/// More errors: those of `read`; Internal when a sequence is not of its shape.
Expected<std::vector<MicroBatch>> pack_lazily(std::span<const SequenceShape> shapes,
                                              int num_micro_batches, Mode mode,
                                              const std::function<bool(int)>& wanted,
                                              const std::function<Expected<Example>(int)>& read);

/// One completion as GRPO learns from it. Log-probabilities: one per completion token, or empty
/// (old: on policy; ref: none).
struct GrpoSequence {
  Example example;
  float advantage = 0;
  float weight = 0;  // of each of its tokens, from rl::token_weights
  std::vector<float> old_logprob;
  std::vector<float> ref_logprob;
};

/// More errors: InvalidArgument when a list of log-probabilities has another length than its
/// completion, or ref_logprob is missing while options.beta > 0.
Expected<std::vector<MicroBatch>> pack_grpo(std::span<const GrpoSequence> sequences,
                                            int num_micro_batches, const rl::GrpoOptions& options);

/// Tokens of the largest micro-batch.
int max_tokens(std::span<const MicroBatch> batches);

}  // namespace weft::trainer::data

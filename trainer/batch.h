// What a model is given: packed sequences with their loss description. A MicroBatch is a value;
// every rank can build the same one, so no token travels through the pipeline.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/rl/grpo.h"

namespace weft::trainer {

enum class LossKind { CrossEntropy, Grpo };

enum class Mode {
  Train,   // forward keeps what backward needs
  Score,   // forward only; the head leaves log-probabilities and losses
  Decode,  // forward only against the slot's KV cache; the head leaves logits
};

/// Packed tokens of several sequences; attention never crosses from one into another.
struct MicroBatch {
  Mode mode = Mode::Train;
  std::vector<std::int32_t> tokens;          // [num_tokens]
  std::vector<std::int32_t> positions;       // [num_tokens] position inside the own sequence
  std::vector<std::int32_t> sequence_begin;  // [num_sequences + 1]
  std::vector<std::int32_t> sequence_id;     // [num_sequences] index in the global batch
  /// Decode: which row of the slot's KV cache each sequence uses. [num_sequences]
  std::vector<std::int32_t> cache_row;

  // Loss, per token; token t predicts targets[t]. Train and Score only.
  LossKind loss = LossKind::CrossEntropy;
  std::vector<std::int32_t> targets;  // -1: no loss here
  std::vector<float> weight;          // factor of this token's loss; normalisation included
  // Grpo only.
  std::vector<float> advantage;
  std::vector<float> old_logprob;  // NaN: on policy, use the current value (ratio 1)
  std::vector<float> ref_logprob;  // read only if grpo.beta > 0
  rl::GrpoOptions grpo;
  /// Multi-token prediction: factor of the mean over depths of the modules' losses, equal in all
  /// micro-batches of a pass. 0: the modules do not run. Train with CrossEntropy only.
  float next_token_weight = 0;

  bool trains_next_tokens() const {
    return mode == Mode::Train && loss == LossKind::CrossEntropy && next_token_weight > 0;
  }
  int num_tokens() const { return static_cast<int>(tokens.size()); }
  int num_sequences() const { return static_cast<int>(sequence_begin.size()) - 1; }
};

/// What the head leaves per token where targets[t] >= 0 (0 elsewhere).
struct HeadOutput {
  std::vector<float> logprob;  // log-probability of the target at temperature 1
  std::vector<float> loss;     // weight included
  std::vector<float> entropy;
  std::vector<float> kl;              // k3 estimate against ref_logprob; Grpo with beta > 0 only
  std::vector<std::uint8_t> clipped;  // Grpo only
};

}  // namespace weft::trainer

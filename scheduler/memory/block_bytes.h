// Bytes that one block of a micro-batch takes and gives back, phase by phase. The CPU rules follow
// trainer/model (activations.h, recompute.cpp, fp8_kept.cpp) buffer by buffer.
#pragma once

#include "scheduler/time/phase_work.h"
#include "scheduler/work.h"

namespace weft::scheduler {

/// What differs between the CPU trainer and a GPU trainer that keeps what DeepSeek-V3's does.
struct StorageRules {
  double residual = 4;               // bytes a number of the residual stream and its gradient
  bool keeps_expert_results = true;  // else the gate weight is applied before the down-projection
  /// Gradients that wait for their weight gradient are FP8 where products are, as DeepSeek-V3's.
  bool fp8_gradients = false;
};
/// A cluster of GPUs (it has SMs) or of CPU workers.
StorageRules storage_rules(bool gpu);

/// A phase's effect: live bytes rise by `most` while it runs and are `after` more when it has ended
/// (negative: less).
struct Change {
  double most = 0, after = 0;
};
struct BlockBytes {
  Change attention, experts;              // forward
  Change attention_again, experts_again;  // recompute: full
  Change experts_input, experts_weights;  // backward
  Change attention_input, attention_weights;
  double kept = 0;  // from forward to backward
};
/// `imbalance`: rows of the busiest rank over the mean.
BlockBytes block_bytes(const Work& work, Block block, const StorageRules& rules,
                       double imbalance = 1);
/// Of the head, per head: after its forward, and the gradient that it makes.
Change head_bytes(const Work& work, const StorageRules& rules);

}  // namespace weft::scheduler

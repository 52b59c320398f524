// What is to be trained, and how: the value from which memory and time are predicted.
#pragma once

#include <compare>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "scheduler/model_shape.h"
#include "scheduler/placement.h"

namespace weft::scheduler {

enum class Precision { F32, BF16, FP8 };
enum class Recompute { None, MlaUp, Full };

std::string_view to_string(Precision precision);  // as job files write them
std::string_view to_string(Recompute recompute);
Expected<Precision> parse_precision(std::string_view text);
Expected<Recompute> parse_recompute(std::string_view text);

struct Work {
  ModelShape model;
  Layout layout;
  int sequence = 4096;               // tokens
  double micro_batch_sequences = 1;  // in one micro-batch of one lane, on average
  Precision precision = Precision::BF16;
  Precision dispatch = Precision::BF16;  // of rows on their way to the experts
  Recompute recompute = Recompute::None;
  bool overlap = true;          // F&B pairs run merged
  int redundant_experts = 0;    // copies of busy experts a rank and MoE layer holds in rollout
  bool bf16_moments = false;    // of the optimizer; else FP32
  double steps = 0;             // of the run; 0: not known
  double checkpoint_every = 0;  // steps; 0: none
  /// Tokens that a micro-batch may have, over micro_batch_tokens(): what comes has room for them.
  double largest_micro_batch = 1;
  double rollout_sequences = 0;  // that the world rolls out at once, at most; 0: none
  double rollout_prompt = 0;     // tokens of each, at most
  double rollout_tokens = 0;     // room in the KV cache of each: prompt and completion

  double micro_batch_tokens() const { return 1.0 * sequence * micro_batch_sequences; }
  double step_sequences() const {
    return 1.0 * layout.data * layout.micro_batches * micro_batch_sequences;
  }
  double step_tokens() const { return step_sequences() * sequence; }
};

/// What a stage holds.
struct StageBlocks {
  int dense = 0, moe = 0, next_token = 0;  // blocks; next-token modules are MoE where layers are
  bool first = false, last = false;        // with the embedding, with the head
  int layers() const { return dense + moe + next_token; }
  friend auto operator<=>(const StageBlocks&, const StageBlocks&) = default;
};
std::vector<StageBlocks> stage_blocks(const ModelShape& model, const Placement& placement);

}  // namespace weft::scheduler

// What an Engine is given and what it gives back: plain values.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "comm/exchange/exchange_options.h"
#include "runtime/worker/sharded_optimizer.h"
#include "scheduler/placement.h"
#include "trainer/model/stage_model.h"

namespace weft::runtime {

struct EngineOptions {
  scheduler::Layout layout;
  trainer::ModelConfig model;
  AdamOptions adam;
  double clip_norm = 1.0;
  double ema_decay = 0;  // of the parameters' moving average; 0: there is none
  double router_bias_update_rate = 1e-3;
  bool overlap = true;
  trainer::Recompute recompute = trainer::Recompute::None;
  trainer::Precision precision = trainer::Precision::F32;
  trainer::Fp8Options fp8;  // read where precision is FP8
  comm::Payload dispatch_payload = comm::Payload::full;
  int redundant_experts = 0;  // a rank and MoE layer, while it generates; at most those elsewhere
  int threads = 1;
  int max_tokens = 1024;  // of any micro-batch
  std::uint64_t seed = 1;
  std::chrono::milliseconds wait_bound{60'000};
  const Clock* clock = nullptr;  // for what saves took; outlives the engine; null: the system's
  bool replay = true;            // do a step again whose numbers cannot be
  bool output_hashes = true;     // and name who computed otherwise
};

/// A step above these is a spike and counts like one that is not finite.
struct StepLimits {
  double loss = std::numeric_limits<double>::infinity();
  double grad_norm = std::numeric_limits<double>::infinity();
};

struct TrainResult {
  double loss = 0;       // of the global batch, weights included
  double grad_norm = 0;  // before clipping
  double entropy = 0;    // means over loss tokens
  double kl = 0;
  double clipped = 0;       // share of loss tokens
  double balance_loss = 0;  // aux_loss_alpha included; comes on top of `loss`
  // Of each depth of multi-token prediction: mean over its loss tokens; empty where it did not run.
  std::vector<double> next_token_loss;
  std::vector<double> expert_load;  // [block][expert] tokens of the global batch; dense blocks: 0
  bool applied = true;  // false: loss or gradient not finite or above the limits; no update
  int tries = 1;        // more than one: such a step was done again from the same inputs
  /// The tries did not give the same bits: some rank computed wrong without noticing.
  struct Corruption {
    std::string text;
    std::vector<int> ranks;  // one of them; empty: not known
  };
  std::optional<Corruption> corruption;
  bool stop_requested = false;  // some rank was asked to stop
};

struct Completion {
  std::vector<std::int32_t> tokens;  // without the prompt; the end token included when it came
  std::vector<float> logprobs;       // at temperature 1, as sampled
  bool finished = false;             // the end token came before the limit
};

struct GenerateOptions {
  int max_new_tokens = 64;
  double temperature = 1.0;
  int end_token = -1;
  std::uint64_t seed = 1;  // token t of completion i is drawn from (seed, purpose, step, i, t)
  std::string purpose = "rollout";
  std::uint64_t step = 0;
};

/// How evenly the ranks of an expert group shared the experts' work of one generate(), whole world.
struct RolloutLoad {
  /// Busiest rank over mean, mean over MoE layers; 0: the experts are not spread over ranks.
  double home = 0;                     // with one copy of each expert
  double served = 0;                   // as it was computed
  long long replicas = 0, copied = 0;  // of all MoE layers; copied: before the first token
  double copied_bytes = 0;
  double seconds = 0;  // until the replicas were there, on this rank
};

}  // namespace weft::runtime

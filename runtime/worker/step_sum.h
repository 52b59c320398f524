// Where each number lies in the one world-wide sum that ends a training step.
#pragma once

#include <cstddef>

#include "trainer/model/config.h"

namespace weft::runtime {

/// First the squared norm of each tensor's gradient, then as below. Plain value.
struct StepSumPlaces {
  enum Total { Tokens, Entropy, Kl, Clipped, Stop, Balance, Snapshot, Copy, kNumTotals };

  StepSumPlaces() = default;
  /// `depths`: of multi-token prediction that run.
  StepSumPlaces(std::size_t num_tensors, int num_sequences, const trainer::ModelConfig& model,
                int num_depths, int world)
      : losses(num_tensors),
        loads(losses + static_cast<std::size_t>(num_sequences)),
        totals(loads +
               static_cast<std::size_t>(model.num_hidden_layers + model.num_nextn_predict_layers) *
                   static_cast<std::size_t>(model.n_routed_experts)),
        depths(totals + kNumTotals),
        self(depths + static_cast<std::size_t>(num_depths * (num_sequences + 1))),
        size(self + static_cast<std::size_t>(world)) {}

  std::size_t losses = 0;  // [sequence]
  std::size_t loads = 0;   // [block][expert] tokens
  std::size_t totals = 0;  // [Total]
  std::size_t depths = 0;  // [depth][sequence] losses, and behind them the depth's tokens
  std::size_t self = 0;    // [rank] seconds that it was busy
  std::size_t size = 0;
};

}  // namespace weft::runtime

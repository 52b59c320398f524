// What replicas of busy experts would bring, as an offer: from measured loads, before and after.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "scheduler/balance/balance.h"

namespace weft::scheduler {

struct BalanceGain {
  double before = 1;  // busiest GPU over mean, experts laid out in order, one copy each
  double after = 1;   // with the replicas, by balance_layer
  int worst_layer = 0;
  double worst_before = 1;  // of that layer
  /// Of the time that the experts take: the busiest GPU is waited for.
  double saved() const { return before > 0 ? 1 - after / before : 0; }
};

/// Means over the layers. `loads`: [layer][expert]. Replicas: one more slot a GPU than without.
/// Errors: those of check_grid (experts that do not divide over the GPUs).
Expected<BalanceGain> balance_gain(std::span<const std::vector<double>> loads, int groups,
                                   int nodes, int gpus);

}  // namespace weft::scheduler

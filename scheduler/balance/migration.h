// Getting from one placement to a better one without moving more weights than it is worth.
#pragma once

#include <span>

#include "scheduler/balance/balance.h"

namespace weft::scheduler {

/// `layer` with its nodes, GPUs and slots renamed so that as few replicas as possible move; loads
/// stay as they are.
LayerReplicas renamed(const LayerReplicas& layer, const LayerReplicas& current,
                      const ExpertGrid& grid);

/// `best` renamed, or what a search from `current` finds first whose busiest GPU carries no more
/// than `tolerance` above best's and no more than `limit`, if that moves less. Even shares.
LayerReplicas nearest_good(const LayerReplicas& current, const LayerReplicas& best,
                           double tolerance, double limit, std::span<const double> load,
                           const ExpertGrid& grid);

/// Experts of each block of `size` slots that are also in the same block of the other, summed.
int num_kept(const std::vector<int>& from, const std::vector<int>& to, int size);

}  // namespace weft::scheduler

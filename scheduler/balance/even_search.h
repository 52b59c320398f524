// The search for a placement whose busiest GPU is light when every expert's tokens are spread
// evenly over its replicas.
#pragma once

#include <span>

#include "scheduler/balance/balance.h"

namespace weft::scheduler {

/// Starts from `published` and from fresh packings, also with its groups on other nodes; searches
/// longer on small grids as long as the busiest GPU carries more than `goal`. Never two replicas of
/// an expert on one GPU; requires room for that.
LayerReplicas best_even_placement(const LayerReplicas& published, double goal,
                                  std::span<const double> load, const ExpertGrid& grid);

}  // namespace weft::scheduler

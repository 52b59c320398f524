// DeepSeek's published expert balancing (EPLB): greedy packing of groups to nodes, greedy
// replication, greedy packing of replicas to GPUs, in float32.
#pragma once

#include <span>
#include <vector>

#include "scheduler/balance/balance.h"

namespace weft::scheduler {

/// pack_of[i] in 0..packs-1, each with equally many items: heaviest first, to the lightest pack
/// that has room (lowest index on ties).
std::vector<int> pack_evenly(std::span<const float> weight, int packs);

LayerReplicas published_placement(std::span<const float> load, const ExpertGrid& grid);

}  // namespace weft::scheduler

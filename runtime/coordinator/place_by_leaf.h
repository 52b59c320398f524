// Which node runs which rank where nodes say which leaf switch they hang on: the scheduler's
// assignment (expert groups under one leaf, neighbours of a pipeline near) in the coordinator's
// words. Pure, deterministic.
#pragma once

#include <optional>
#include <vector>

#include "runtime/coordinator/place_ranks.h"
#include "scheduler/placement.h"

namespace weft::runtime {

/// `nodes` and `before` as for place_ranks. Ranks whose slot is still there stay; of all ways to
/// seat the others a cheap one is taken. None when this cannot tell (a node without a leaf, a
/// layout that does not fit, too few slots): place_ranks() does then.
std::optional<std::vector<RankPlacement>> place_by_leaf(const std::vector<NodeRoom>& nodes,
                                                        const std::vector<RankPlacement>& before,
                                                        const scheduler::Layout& layout);

}  // namespace weft::runtime

// How much of an expert's load each of its replicas takes.
#pragma once

#include <span>

#include "scheduler/balance/balance.h"

namespace weft::scheduler {

/// Moves load between the replicas of each expert until no GPU can be relieved any more: lowers the
/// sum of the squared GPU loads, whose least value, since load flows freely along replicas, also
/// has the least busiest GPU. Never makes the busiest GPU busier.
void even_out(LayerReplicas& layer, std::span<const double> load, const ExpertGrid& grid);

/// Replaces every second replica of an expert on a GPU by an expert that is not there and takes
/// nothing; the first takes both parts. GPU loads stay as they are. Requires room: slots a GPU <=
/// experts that may live there.
void part_twins(LayerReplicas& layer, const ExpertGrid& grid);

}  // namespace weft::scheduler

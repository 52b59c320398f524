// Redundant experts: every GPU keeps the experts that it has and takes copies of busy ones beside
// them, as DeepSeek-V3 is served. What moves are the copies alone.
#pragma once

#include <span>

#include "scheduler/balance/balance.h"

namespace weft::scheduler {

inline constexpr int kEmptySlot = -1;

/// The first experts / gpus slots of GPU g are its own experts, in order; the others hold a replica
/// or kEmptySlot: copies that relieve nobody are not made. grid.groups and grid.nodes are not
/// looked at. A replica that is in `current` (or null) keeps its slot there.
/// load[e] >= 0. Deterministic. Errors: those of check_grid; InvalidArgument for experts that do
/// not divide over the GPUs, more slots than experts, and loads as in balance_layer.
/// Source: DeepSeek-V3 report, section 3.4.1 ("besides the original 8 experts it hosts, it will
/// also host one additional redundant expert"); which ones, and the shares, are ours.
Expected<LayerReplicas> redundant_layer(std::span<const double> load, const ExpertGrid& grid,
                                        const LayerReplicas* current = nullptr);

/// Slots of `to` whose expert is not in the same slot of `from` (null: nothing is there yet), own
/// experts and empty slots aside: the copies to make.
int num_copied(const LayerReplicas* from, const LayerReplicas& to, const ExpertGrid& grid);

}  // namespace weft::scheduler

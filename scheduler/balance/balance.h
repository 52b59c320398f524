// Which experts get replicas, and on which GPU each replica lives, so that the busiest GPU has as
// little more than the mean as possible. Pure: measured loads in, a placement out.
//
// A *replica slot* is one place for an expert; GPU g holds slots [g * slots_per_gpu, (g + 1) *
// slots_per_gpu), node n its share of the GPUs in order. An expert's load is split evenly over its
// replicas.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"

namespace weft::scheduler {

enum class BalancePolicy {
  Best,      // a search for even shares, then uneven shares where these help; never two replicas of
             // an expert on one GPU, never a busier GPU than the published one; moves little
  Published  // DeepSeek's EPLB, hierarchical or global, in its float32 arithmetic
};
Expected<BalancePolicy> parse_balance_policy(std::string_view text);

struct ExpertGrid {
  int experts = 0;   // of a layer
  int replicas = 0;  // slots of a layer, all GPUs together; at least `experts`
  int groups = 1;    // of experts, as in group-limited routing
  int nodes = 1;
  int gpus = 1;  // all nodes together

  int slots_per_gpu() const { return replicas / gpus; }
  /// Whole groups fit on nodes: then an expert's replicas stay on its group's node, so that
  /// node-limited routing keeps its meaning. Else every GPU may hold every expert.
  bool keeps_groups_on_nodes() const { return groups % nodes == 0; }
};

/// Every rule that the grid breaks, each with the nearest number that keeps it. Best needs room for
/// an expert's replicas on different GPUs, beside what every policy needs.
std::vector<std::string> grid_problems(const ExpertGrid& grid, BalancePolicy policy);
/// Errors: InvalidArgument with all of grid_problems.
Expected<void> check_grid(const ExpertGrid& grid, BalancePolicy policy = BalancePolicy::Published);
/// A grid of the same experts without problems: as few numbers as possible differ, and these by as
/// little as possible. Looked for near the numbers given; none: nothing near them will do.
std::optional<ExpertGrid> nearest_grid(const ExpertGrid& grid, BalancePolicy policy);

/// Errors: InvalidArgument for loads that are negative, not finite or not one an expert.
Expected<void> check_load(std::span<const double> load, const ExpertGrid& grid);

/// One layer's placement.
struct LayerReplicas {
  /// [replicas] expert of each slot ("phy2log"); -1, redundant_layer's alone: it is empty
  std::vector<int> expert_of;
  std::vector<int> index_of;  // [replicas] which of its expert's replicas, from 0
  /// [replicas] part of its expert's tokens that this replica takes; the parts of an expert add up
  /// to 1. Published: evenly.
  std::vector<double> share_of;
  friend bool operator==(const LayerReplicas&, const LayerReplicas&) = default;
};

std::vector<int> replica_counts(const LayerReplicas& layer, int experts);  // "logcnt"
std::vector<double> gpu_loads(const LayerReplicas& layer, std::span<const double> load,
                              const ExpertGrid& grid);
/// The same placement with every expert's tokens spread evenly over its replicas.
LayerReplicas with_even_shares(LayerReplicas layer, int experts);
/// Busiest GPU over mean GPU; 1 is perfect (also for a layer without load).
double imbalance(const LayerReplicas& layer, std::span<const double> load, const ExpertGrid& grid);
/// Slots whose weights have to be fetched from another GPU (or the same GPU's other slot: free).
int num_moved(const LayerReplicas& from, const LayerReplicas& to, const ExpertGrid& grid);

struct BalanceOptions {
  BalancePolicy policy = BalancePolicy::Best;
  /// Best, when there is a current placement: how much more than the best load found the busiest
  /// GPU may carry if fewer replicas then move. Never more than with the published placement.
  double migration_tolerance = 0.02;
};

/// load[e] >= 0: how many tokens chose expert e. `current`: the layer's placement now, or null.
/// Deterministic. Errors: those of check_grid; InvalidArgument for loads that are negative, not
/// finite or not one an expert, and for a current placement of another shape.
/// Source: the published algorithm is DeepSeek's EPLB; the search is ours.
Expected<LayerReplicas> balance_layer(std::span<const double> load, const ExpertGrid& grid,
                                      const BalanceOptions& options = {},
                                      const LayerReplicas* current = nullptr);

/// Replicas numbered in slot order, with even shares. Errors: InvalidArgument when an expert does
/// not exist or has no slot.
Expected<LayerReplicas> layer_from_slots(std::vector<int> expert_of, const ExpertGrid& grid);

}  // namespace weft::scheduler

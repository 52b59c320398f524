#include "scheduler/balance/even_search.h"

#include "base/rng.h"
#include "scheduler/balance/parts.h"
#include "scheduler/balance/search.h"

namespace weft::scheduler {
namespace {

// A part this small is cheap to search thoroughly, and needs it most: one move is a large one.
constexpr int kFewExperts = 16;
constexpr int kFewShakes = 100;

// Where the search has ended above the published placement, whose twins can make small grids
// better: so many other groupings, and shakes of each node.
constexpr int kSmallGrid = 64;
constexpr int kOtherGroupings = 4;
constexpr int kShakes = 60;

/// `start`'s experts stay on its nodes; on each the better of two searches: from `start`, and from
/// a fresh packing.
LayerReplicas searched(const LayerReplicas& start, std::span<const double> load,
                       const ExpertGrid& grid) {
  return change_parts(start, load, grid, [&](Domain& domain) {
    Domain fresh =
        pack_fresh(domain.load, static_cast<int>(domain.slots.size()), grid.slots_per_gpu());
    repair(domain);
    for (Domain* one : {&domain, &fresh}) {
      improve(*one);
      if (std::ssize(one->load) <= kFewExperts) search_further(*one, 0, kFewShakes);
    }
    if (busiest(fresh) < busiest(domain)) domain = fresh;
  });
}

/// Which groups lie on which node.
using Grouping = std::vector<std::vector<int>>;

Grouping grouping_of(const LayerReplicas& layer, const ExpertGrid& grid) {
  const int group_size = grid.experts / grid.groups;
  Grouping nodes;
  for (const Part& part : parts_of(layer, grid)) {
    std::vector<int>& groups = nodes.emplace_back();
    for (const int e : part.experts)
      if (e % group_size == 0) groups.push_back(e / group_size);
  }
  return nodes;
}

/// Any placement with these groups on these nodes, for a search to start from.
LayerReplicas placed_by(const Grouping& nodes, const ExpertGrid& grid) {
  const int group_size = grid.experts / grid.groups, slots = grid.replicas / grid.nodes;
  std::vector<int> expert_of;
  for (const std::vector<int>& groups : nodes) {
    std::vector<int> experts;
    for (const int group : groups)
      for (int i = 0; i < group_size; ++i) experts.push_back(group * group_size + i);
    for (int i = 0; i < slots; ++i) expert_of.push_back(experts[i % experts.size()]);
  }
  return number_replicas(std::move(expert_of), grid.experts);
}

/// Groups swapped between nodes until the heaviest node gets no lighter.
Grouping evened(const Grouping& nodes, std::span<const double> load, const ExpertGrid& grid) {
  const int group_size = grid.experts / grid.groups;
  std::vector<double> group_load(grid.groups, 0.0);
  for (int e = 0; e < grid.experts; ++e) group_load[e / group_size] += load[e];
  // Groups as experts with one replica each, nodes as GPUs: the same search.
  Domain domain{group_load, nodes};
  improve(domain);
  return domain.slots;
}

/// A longer search, also over groupings, for a placement whose busiest GPU carries at most `goal`.
LayerReplicas brought_to(double goal, LayerReplicas best, std::span<const double> load,
                         const ExpertGrid& grid) {
  const bool groups_move = grid.keeps_groups_on_nodes() && grid.nodes > 1;
  Rng rng(1, "expert groupings");
  LayerReplicas start = best;
  for (int i = 0; i < (groups_move ? kOtherGroupings : 1); ++i) {
    const LayerReplicas next = change_parts(
        start, load, grid, [&](Domain& domain) { search_further(domain, goal, kShakes); });
    if (busiest_gpu(next, load, grid) < busiest_gpu(best, load, grid)) best = next;
    if (busiest_gpu(best, load, grid) <= goal || !groups_move) return best;
    Grouping nodes = grouping_of(best, grid);
    const auto n = static_cast<unsigned>(nodes.size());
    const unsigned a = rng.below(n), b = (a + 1 + rng.below(n - 1)) % n;
    const auto groups = static_cast<unsigned>(nodes[a].size());
    std::swap(nodes[a][rng.below(groups)], nodes[b][rng.below(groups)]);
    start = searched(placed_by(nodes, grid), load, grid);
  }
  return best;
}

}  // namespace

LayerReplicas best_even_placement(const LayerReplicas& published, double goal,
                                  std::span<const double> load, const ExpertGrid& grid) {
  LayerReplicas best = searched(published, load, grid);
  if (grid.keeps_groups_on_nodes() && grid.nodes > 1) {
    const Grouping nodes = evened(grouping_of(published, grid), load, grid);
    const LayerReplicas other = searched(placed_by(nodes, grid), load, grid);
    if (busiest_gpu(other, load, grid) < busiest_gpu(best, load, grid)) best = other;
  }
  const bool thorough = grid.experts <= kSmallGrid && busiest_gpu(best, load, grid) > goal;
  return thorough ? brought_to(goal, best, load, grid) : best;
}

}  // namespace weft::scheduler

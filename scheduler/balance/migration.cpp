#include "scheduler/balance/migration.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <set>
#include <span>

#include "scheduler/balance/assignment.h"
#include "scheduler/balance/parts.h"
#include "scheduler/balance/search.h"

namespace weft::scheduler {
namespace {

/// How many experts two GPUs (or nodes) have in common, both sorted.
int common(std::span<const int> a, std::span<const int> b) {
  int both = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    both += a[i] == b[j] ? 1 : 0;
    const bool first = a[i] <= b[j], second = b[j] <= a[i];
    i += first ? 1 : 0;
    j += second ? 1 : 0;
  }
  return both;
}

std::vector<int> block(const std::vector<int>& values, int index, int size) {
  return {values.begin() + index * size, values.begin() + (index + 1) * size};
}

/// Every block of so many values sorted.
std::vector<int> sorted_blocks(std::vector<int> values, int size) {
  for (auto at = values.begin(); at != values.end(); at += size) std::sort(at, at + size);
  return values;
}

/// Which block of `to` goes where, so that blocks keep as many experts as possible.
std::vector<int> matched(const std::vector<int>& from, const std::vector<int>& to, int size) {
  const int n = static_cast<int>(from.size()) / size;
  std::vector<std::vector<long long>> cost(n, std::vector<long long>(n));
  const std::vector<int> here = sorted_blocks(from, size), there = sorted_blocks(to, size);
  const auto one = [&](const std::vector<int>& blocks, int index) {
    return std::span(blocks).subspan(static_cast<std::size_t>(index) * size, size);
  };
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j) cost[i][j] = -common(one(here, i), one(there, j));
  return least_cost_assignment(cost);
}

std::vector<int> reordered(const std::vector<int>& values, const std::vector<int>& block_at,
                           int size) {
  std::vector<int> out;
  for (const int index : block_at) {
    const std::vector<int> one = block(values, index, size);
    out.insert(out.end(), one.begin(), one.end());
  }
  return out;
}

/// Experts that stay on a GPU keep their slot. `order`: new slot -> index into `expert_of`.
void keep_slots(const std::vector<int>& current, const std::vector<int>& expert_of,
                std::vector<int>& order, int first, int size) {
  for (int i = first; i < first + size; ++i)
    for (int j = first; j < first + size; ++j)
      if (expert_of[order[j]] == current[i] && expert_of[order[i]] != current[i])
        std::swap(order[i], order[j]);
}

/// Whether a search may start from it: groups lie on nodes where the grid wants that.
bool keeps_groups(const LayerReplicas& layer, const ExpertGrid& grid) {
  if (!grid.keeps_groups_on_nodes()) return true;
  const int group_size = grid.experts / grid.groups;
  int total = 0;
  for (const Part& part : parts_of(layer, grid)) {
    std::set<int> groups;
    for (const int e : part.experts) groups.insert(e / group_size);
    if (std::ssize(groups) != grid.groups / grid.nodes) return false;
    total += static_cast<int>(part.experts.size());
  }
  return total == grid.experts;
}

}  // namespace

LayerReplicas renamed(const LayerReplicas& layer, const LayerReplicas& current,
                      const ExpertGrid& grid) {
  const int parts = grid.keeps_groups_on_nodes() ? grid.nodes : 1;
  const int part_size = grid.replicas / parts, size = grid.slots_per_gpu();
  const auto experts = [&](const std::vector<int>& slots) {
    std::vector<int> out;
    for (const int slot : slots) out.push_back(layer.expert_of[slot]);
    return out;
  };
  std::vector<int> order(grid.replicas);  // new slot -> slot in `layer`
  std::iota(order.begin(), order.end(), 0);
  if (parts > 1)
    order = reordered(order, matched(current.expert_of, experts(order), part_size), part_size);
  std::vector<int> out;
  for (int p = 0; p < parts; ++p) {
    const std::vector<int> mine = block(order, p, part_size);
    const std::vector<int> gpus =
        matched(block(current.expert_of, p, part_size), experts(mine), size);
    std::ranges::copy(reordered(mine, gpus, size), std::back_inserter(out));
  }
  for (int g = 0; g < grid.gpus; ++g)
    keep_slots(current.expert_of, layer.expert_of, out, g * size, size);
  LayerReplicas result = number_replicas(experts(out), grid.experts);
  for (int slot = 0; slot < grid.replicas; ++slot)
    result.share_of[slot] = layer.share_of[out[slot]];
  return result;
}

LayerReplicas nearest_good(const LayerReplicas& current, const LayerReplicas& best,
                           double tolerance, double limit, std::span<const double> load,
                           const ExpertGrid& grid) {
  const LayerReplicas goal = renamed(best, current, grid);
  if (!keeps_groups(current, grid)) return goal;
  const double least = busiest_gpu(goal, load, grid);
  const double bound = std::min(least * (1 + tolerance), std::max(limit, least));
  const LayerReplicas near = renamed(change_parts(current, load, grid,
                                                  [&](Domain& domain) {
                                                    repair(domain);
                                                    improve(domain, bound);
                                                  }),
                                     current, grid);
  const bool good = busiest_gpu(near, load, grid) <= bound;
  return good && num_moved(current, near, grid) < num_moved(current, goal, grid) ? near : goal;
}

int num_kept(const std::vector<int>& from, const std::vector<int>& to, int size) {
  const std::vector<int> here = sorted_blocks(from, size), there = sorted_blocks(to, size);
  int kept = 0;
  for (std::size_t first = 0; first < here.size(); first += size)
    kept += common(std::span(here).subspan(first, size), std::span(there).subspan(first, size));
  return kept;
}

}  // namespace weft::scheduler

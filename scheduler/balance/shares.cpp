#include "scheduler/balance/shares.h"

#include <algorithm>

namespace weft::scheduler {
namespace {

constexpr int kSweepsMax = 64;
// A sweep that moves less than this part of the mean GPU load ends the search.
constexpr double kStillMoving = 1e-4;

/// Brings two GPUs that share an expert as near together as that expert's load allows; how much
/// moved.
double even_pair(double& share_a, double& share_b, double& gpu_a, double& gpu_b, double load) {
  const double wanted = (gpu_a - gpu_b) / 2;
  const double moved = std::clamp(wanted, -share_b * load, share_a * load);
  share_a = std::max(0.0, share_a - moved / load);
  share_b = std::max(0.0, share_b + moved / load);
  gpu_a -= moved;
  gpu_b += moved;
  return std::abs(moved);
}

}  // namespace

void even_out(LayerReplicas& layer, std::span<const double> load, const ExpertGrid& grid) {
  std::vector<std::vector<int>> slots_of(grid.experts);
  for (int slot = 0; slot < grid.replicas; ++slot)
    if (layer.expert_of[slot] >= 0) slots_of[layer.expert_of[slot]].push_back(slot);
  std::vector<double> gpu = gpu_loads(layer, load, grid);
  double total = 0;
  for (const double l : load) total += l;
  for (int sweep = 0; sweep < kSweepsMax; ++sweep) {
    double moved = 0;
    for (int e = 0; e < grid.experts; ++e) {
      if (load[e] <= 0) continue;
      const std::vector<int>& slots = slots_of[e];
      for (std::size_t i = 0; i < slots.size(); ++i)
        for (std::size_t j = i + 1; j < slots.size(); ++j) {
          const int a = slots[i] / grid.slots_per_gpu(), b = slots[j] / grid.slots_per_gpu();
          if (a != b)
            moved += even_pair(layer.share_of[slots[i]], layer.share_of[slots[j]], gpu[a], gpu[b],
                               load[e]);
        }
    }
    if (moved <= kStillMoving * total / grid.gpus) return;
  }
}

void part_twins(LayerReplicas& layer, const ExpertGrid& grid) {
  const int size = grid.slots_per_gpu();
  const int parts = grid.keeps_groups_on_nodes() ? grid.nodes : 1;
  const int part_size = grid.replicas / parts;
  for (int g = 0; g < grid.gpus; ++g) {
    const auto gpu = layer.expert_of.begin() + g * size;
    const auto part = layer.expert_of.begin() + g * size / part_size * part_size;
    for (int i = 1; i < size; ++i) {
      const auto twin = std::find(gpu, gpu + i, gpu[i]);
      if (twin == gpu + i) continue;
      layer.share_of[g * size + (twin - gpu)] += layer.share_of[g * size + i];
      layer.share_of[g * size + i] = 0;
      // Any expert of the same part will do; its other replicas keep their shares.
      const auto stranger = std::find_if(part, part + part_size, [&](int e) {
        return std::find(gpu, gpu + size, e) == gpu + size;
      });
      gpu[i] = *stranger;
    }
  }
  std::vector<int> seen(grid.experts, 0);
  for (int slot = 0; slot < grid.replicas; ++slot)
    layer.index_of[slot] = seen[layer.expert_of[slot]]++;
}

}  // namespace weft::scheduler

#include "scheduler/balance/redundant.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "scheduler/balance/shares.h"

namespace weft::scheduler {
namespace {

// A replica that takes less than this part of the mean GPU load is not worth its copy.
constexpr double kWorthwhile = 0.01;

class Search {
 public:
  Search(std::span<const double> load, const ExpertGrid& grid)
      : load_(load), grid_(grid), own_(grid.experts / grid.gpus) {
    layer_.expert_of.assign(grid.replicas, kEmptySlot);
    layer_.index_of.assign(grid.replicas, 0);
    layer_.share_of.assign(grid.replicas, 0.0);
    for (int e = 0; e < grid.experts; ++e) {
      const int slot = e / own_ * grid.slots_per_gpu() + e % own_;
      layer_.expert_of[slot] = e;
      layer_.share_of[slot] = 1;
    }
    const double total = std::accumulate(load.begin(), load.end(), 0.0);
    least_ = std::max(kWorthwhile * total / grid.gpus, 1e-300);
  }

  LayerReplicas run() {
    while (add_one()) even_out(layer_, load_, grid_);
    drop_idle();
    even_out(layer_, load_, grid_);
    return std::move(layer_);
  }

 private:
  struct Candidate {
    int slot = -1, expert = -1;
    double relief = 0;
  };

  /// A replica that takes most off the busiest GPU that can be relieved at all.
  bool add_one() {
    const std::vector<double> gpu = gpu_loads(layer_, load_, grid_);
    std::vector<int> order(grid_.gpus);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::greater(), [&](int g) { return gpu[g]; });
    const double mean = std::accumulate(gpu.begin(), gpu.end(), 0.0) / grid_.gpus;
    for (const int busy : order) {
      if (gpu[busy] <= mean + least_) return false;
      const Candidate best = best_off(busy, order, gpu);
      if (best.relief <= least_) continue;
      layer_.expert_of[best.slot] = best.expert;
      return true;
    }
    return false;
  }

  Candidate best_off(int busy, const std::vector<int>& order, const std::vector<double>& gpu) {
    Candidate best;
    for (int i = 0; i < grid_.slots_per_gpu(); ++i) {
      const int from = busy * grid_.slots_per_gpu() + i, e = layer_.expert_of[from];
      if (e == kEmptySlot) continue;
      for (auto to = order.rbegin(); to != order.rend() && *to != busy; ++to) {  // lightest first
        const int slot = free_slot(*to);
        if (slot < 0 || holds(*to, e)) continue;
        const double relief =
            std::min(load_[e] * layer_.share_of[from], (gpu[busy] - gpu[*to]) / 2);
        if (relief > best.relief) best = {slot, e, relief};
        break;  // heavier GPUs relieve less
      }
    }
    return best;
  }

  int free_slot(int gpu) const {
    for (int i = own_; i < grid_.slots_per_gpu(); ++i)
      if (layer_.expert_of[gpu * grid_.slots_per_gpu() + i] == kEmptySlot)
        return gpu * grid_.slots_per_gpu() + i;
    return -1;
  }
  bool holds(int gpu, int expert) const {
    const auto begin = layer_.expert_of.begin() + gpu * grid_.slots_per_gpu();
    return std::find(begin, begin + grid_.slots_per_gpu(), expert) != begin + grid_.slots_per_gpu();
  }

  /// Later replicas may have made earlier ones superfluous: the home takes their parts again.
  void drop_idle() {
    for (int slot = 0; slot < grid_.replicas; ++slot) {
      const int e = layer_.expert_of[slot];
      if (slot % grid_.slots_per_gpu() < own_ || e == kEmptySlot) continue;
      if (load_[e] * layer_.share_of[slot] > least_) continue;
      layer_.share_of[e / own_ * grid_.slots_per_gpu() + e % own_] += layer_.share_of[slot];
      layer_.share_of[slot] = 0;
      layer_.expert_of[slot] = kEmptySlot;
    }
  }

  std::span<const double> load_;
  const ExpertGrid& grid_;
  int own_;
  double least_;
  LayerReplicas layer_;
};

/// Moves replicas inside their GPU to where `current` has them.
void keep_slots(const LayerReplicas& current, const ExpertGrid& grid, LayerReplicas& layer) {
  const int size = grid.slots_per_gpu(), own = grid.experts / grid.gpus;
  for (int gpu = 0; gpu < grid.gpus; ++gpu)
    for (int i = gpu * size + own; i < (gpu + 1) * size; ++i)
      for (int j = gpu * size + own; j < (gpu + 1) * size; ++j)
        if (layer.expert_of[j] != kEmptySlot && layer.expert_of[j] == current.expert_of[i]) {
          std::swap(layer.expert_of[i], layer.expert_of[j]);
          std::swap(layer.share_of[i], layer.share_of[j]);
          break;
        }
}

}  // namespace

Expected<LayerReplicas> redundant_layer(std::span<const double> load, const ExpertGrid& grid,
                                        const LayerReplicas* current) {
  WEFT_TRY(check_grid(grid));
  WEFT_TRY(check_load(load, grid));
  if (grid.experts % grid.gpus != 0)
    return fail(Code::InvalidArgument, "redundant experts: " + std::to_string(grid.experts) +
                                           " experts do not divide over " +
                                           std::to_string(grid.gpus) + " GPUs");
  if (grid.slots_per_gpu() > grid.experts)
    return fail(Code::InvalidArgument, "redundant experts: a GPU has " +
                                           std::to_string(grid.slots_per_gpu()) + " slots for " +
                                           std::to_string(grid.experts) +
                                           " experts: some would be there twice");
  LayerReplicas layer = Search(load, grid).run();
  if (current != nullptr && std::ssize(current->expert_of) == grid.replicas)
    keep_slots(*current, grid, layer);
  std::vector<int> seen(grid.experts, 0);
  for (int slot = 0; slot < grid.replicas; ++slot)
    if (layer.expert_of[slot] != kEmptySlot) layer.index_of[slot] = seen[layer.expert_of[slot]]++;
  return layer;
}

int num_copied(const LayerReplicas* from, const LayerReplicas& to, const ExpertGrid& grid) {
  int copied = 0;
  for (int slot = 0; slot < grid.replicas; ++slot) {
    if (slot % grid.slots_per_gpu() < grid.experts / grid.gpus) continue;
    const int e = to.expert_of[slot];
    copied += e != kEmptySlot && (from == nullptr || from->expert_of[slot] != e);
  }
  return copied;
}

}  // namespace weft::scheduler

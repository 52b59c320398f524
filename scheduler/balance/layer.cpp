// ExpertGrid and LayerReplicas: rules and measures.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "scheduler/balance/balance.h"
#include "scheduler/balance/migration.h"
#include "scheduler/balance/parts.h"

namespace weft::scheduler {
namespace {

/// However large: nobody reads three hundred digits.
std::string text_of(double value) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.6g", value);
  return text.data();
}

}  // namespace

Expected<void> check_load(std::span<const double> load, const ExpertGrid& grid) {
  if (std::ssize(load) != grid.experts)
    return fail(Code::InvalidArgument, std::to_string(load.size()) + " loads for " +
                                           std::to_string(grid.experts) + " experts");
  for (std::size_t e = 0; e < load.size(); ++e)
    if (!(load[e] >= 0) || !std::isfinite(load[e]) || load[e] > 1e30)
      return fail(Code::InvalidArgument, "expert " + std::to_string(e) + ": the load " +
                                             text_of(load[e]) + " is not a number from 0 to 1e30");
  return {};
}

std::vector<int> replica_counts(const LayerReplicas& layer, int experts) {
  std::vector<int> count(experts, 0);
  for (const int e : layer.expert_of) ++count[e];
  return count;
}

std::vector<double> gpu_loads(const LayerReplicas& layer, std::span<const double> load,
                              const ExpertGrid& grid) {
  std::vector<double> sums(grid.gpus, 0.0);
  for (int slot = 0; slot < grid.replicas; ++slot)
    if (layer.expert_of[slot] >= 0)
      sums[slot / grid.slots_per_gpu()] += load[layer.expert_of[slot]] * layer.share_of[slot];
  return sums;
}

LayerReplicas with_even_shares(LayerReplicas layer, int experts) {
  const std::vector<int> count = replica_counts(layer, experts);
  layer.share_of.clear();
  for (const int e : layer.expert_of) layer.share_of.push_back(1.0 / count[e]);
  return layer;
}

double imbalance(const LayerReplicas& layer, std::span<const double> load, const ExpertGrid& grid) {
  const double total = std::accumulate(load.begin(), load.end(), 0.0);
  return total > 0 ? busiest_gpu(layer, load, grid) / (total / grid.gpus) : 1.0;
}

int num_moved(const LayerReplicas& from, const LayerReplicas& to, const ExpertGrid& grid) {
  return grid.replicas - num_kept(from.expert_of, to.expert_of, grid.slots_per_gpu());
}

Expected<LayerReplicas> layer_from_slots(std::vector<int> expert_of, const ExpertGrid& grid) {
  WEFT_TRY(check_grid(grid));
  if (std::ssize(expert_of) != grid.replicas)
    return fail(Code::InvalidArgument,
                std::to_string(expert_of.size()) + " slots, not " + std::to_string(grid.replicas));
  std::vector<bool> placed(grid.experts, false);
  for (std::size_t slot = 0; slot < expert_of.size(); ++slot) {
    if (expert_of[slot] < 0 || expert_of[slot] >= grid.experts)
      return fail(Code::InvalidArgument, "slot " + std::to_string(slot) + ": there is no expert " +
                                             std::to_string(expert_of[slot]) + " of " +
                                             std::to_string(grid.experts));
    placed[expert_of[slot]] = true;
  }
  for (int e = 0; e < grid.experts; ++e)
    if (!placed[e])
      return fail(Code::InvalidArgument, "expert " + std::to_string(e) + " has no slot");
  return number_replicas(std::move(expert_of), grid.experts);
}

}  // namespace weft::scheduler

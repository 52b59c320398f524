#include "scheduler/balance/parts.h"

#include <algorithm>

namespace weft::scheduler {
namespace {

/// The part's slots with its experts counted from 0. `load`: of the part's experts.
Domain domain_of(const LayerReplicas& layer, const Part& part, std::span<const double> load,
                 const ExpertGrid& grid) {
  Domain domain{load, {}};
  for (int g = part.first_gpu; g < part.first_gpu + part.gpus; ++g) {
    std::vector<int>& gpu = domain.slots.emplace_back();
    for (int i = 0; i < grid.slots_per_gpu(); ++i) {
      const int e = layer.expert_of[g * grid.slots_per_gpu() + i];
      gpu.push_back(
          static_cast<int>(std::ranges::lower_bound(part.experts, e) - part.experts.begin()));
    }
  }
  return domain;
}

void write_back(const Domain& domain, const Part& part, const ExpertGrid& grid,
                std::vector<int>& expert_of) {
  for (int g = 0; g < part.gpus; ++g)
    for (int i = 0; i < grid.slots_per_gpu(); ++i)
      expert_of[(part.first_gpu + g) * grid.slots_per_gpu() + i] = part.experts[domain.slots[g][i]];
}

}  // namespace

std::vector<Part> parts_of(const LayerReplicas& layer, const ExpertGrid& grid) {
  const int parts = grid.keeps_groups_on_nodes() ? grid.nodes : 1;
  const int gpus = grid.gpus / parts, slots = grid.replicas / parts;
  std::vector<Part> out(parts);
  for (int p = 0; p < parts; ++p) {
    out[p].first_gpu = p * gpus;
    out[p].gpus = gpus;
    std::vector<int>& experts = out[p].experts;
    experts.assign(layer.expert_of.begin() + p * slots, layer.expert_of.begin() + (p + 1) * slots);
    std::ranges::sort(experts);
    experts.erase(std::unique(experts.begin(), experts.end()), experts.end());
  }
  return out;
}

LayerReplicas change_parts(const LayerReplicas& layer, std::span<const double> load,
                           const ExpertGrid& grid, const std::function<void(Domain&)>& change) {
  std::vector<int> expert_of = layer.expert_of;
  for (const Part& part : parts_of(layer, grid)) {
    std::vector<double> own;
    for (const int e : part.experts) own.push_back(load[e]);
    Domain domain = domain_of(layer, part, own, grid);
    change(domain);
    write_back(domain, part, grid, expert_of);
  }
  return number_replicas(std::move(expert_of), grid.experts);
}

LayerReplicas number_replicas(std::vector<int> expert_of, int experts) {
  LayerReplicas layer{std::move(expert_of), {}, {}};
  std::vector<int> seen(experts, 0);
  for (const int e : layer.expert_of) layer.index_of.push_back(seen[e]++);
  return with_even_shares(std::move(layer), experts);
}

double busiest_gpu(const LayerReplicas& layer, std::span<const double> load,
                   const ExpertGrid& grid) {
  return std::ranges::max(gpu_loads(layer, load, grid));
}

}  // namespace weft::scheduler

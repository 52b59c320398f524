// A layer cut into the parts that may be mixed: the GPUs of one node with the experts of its
// groups, or all GPUs with all experts. Searches work on parts.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "scheduler/balance/balance.h"
#include "scheduler/balance/search.h"

namespace weft::scheduler {

struct Part {
  std::vector<int> experts;  // ascending
  int first_gpu = 0;
  int gpus = 0;
};

/// Read off the slots of a placement that keeps groups on nodes where the grid does.
std::vector<Part> parts_of(const LayerReplicas& layer, const ExpertGrid& grid);

/// The placement after `change` has been at each part's domain. Even shares.
LayerReplicas change_parts(const LayerReplicas& layer, std::span<const double> load,
                           const ExpertGrid& grid, const std::function<void(Domain&)>& change);

/// Replicas numbered in slot order, with even shares. Requires experts that exist.
LayerReplicas number_replicas(std::vector<int> expert_of, int experts);

double busiest_gpu(const LayerReplicas& layer, std::span<const double> load,
                   const ExpertGrid& grid);

}  // namespace weft::scheduler

// What makes a cluster impossible.
#pragma once

#include <string>
#include <vector>

#include "scheduler/cluster/cluster.h"

namespace weft::scheduler {

/// A contradiction inside a cluster, or a figure out of its range.
struct ClusterProblem {
  std::string path;  // of the field to change
  std::string message;
  std::string hint;  // the smallest change that makes it valid
};
/// Everything that is wrong, at once; empty when fine. Figures that were not given are only missed
/// where they are required.
std::vector<ClusterProblem> problems(const Cluster& cluster);

}  // namespace weft::scheduler

#include "scheduler/cluster/cluster.h"

#include <algorithm>

namespace weft::scheduler {

int Cluster::leaf_nodes() const {
  const int given = static_cast<int>(nodes_per_leaf.value);
  return std::max(1, given > 0 ? std::min(given, num_nodes()) : num_nodes());
}

int Cluster::num_leaves() const { return (num_nodes() + leaf_nodes() - 1) / leaf_nodes(); }

}  // namespace weft::scheduler

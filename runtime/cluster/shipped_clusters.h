// deploy/clusters inside the program, for where there is no such directory.
#pragma once

#include <string>
#include <vector>

#include "scheduler/cluster/cluster.h"

namespace weft::runtime {

struct ShippedCluster {
  std::string file;  // "deploy/clusters/h200.yaml"
  scheduler::Cluster cluster;
};

/// All of them, as they were when this program was built, in the order of their names.
std::vector<ShippedCluster> shipped_clusters();

}  // namespace weft::runtime

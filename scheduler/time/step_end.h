// The end of a step: gradients summed over the replicas, the optimizer on its shard (ZeRO-1),
// weights gathered again.
#pragma once

#include <vector>

#include "scheduler/cluster/cluster.h"
#include "scheduler/work.h"

namespace weft::scheduler {

struct StepEnd {
  double reduce = 0, gather = 0, update = 0;  // seconds, of the slowest position
};
StepEnd step_end(const Work& work, const Cluster& cluster, const std::vector<StageBlocks>& stages);

/// Seconds to reduce-scatter (or gather) `bytes` that each of `ranks` holds: inside the node first,
/// then each GPU its part between nodes. `neighbours`: of these ranks, so many share a node.
double collective_seconds(double bytes, int ranks, int neighbours, const Cluster& cluster);

/// Bytes/s of the optimizer's own reading and writing.
double update_rate(const Cluster& cluster);

/// Ranks of this work that take turns on one core of a CPU host; 1 where each has its own.
double cores_shared_by(const Work& work, const Cluster& cluster);

/// Parameters of one stage.
double dense_parameters(const ModelShape& model, const StageBlocks& stage);
double expert_parameters(const ModelShape& model, const StageBlocks& stage);

}  // namespace weft::scheduler

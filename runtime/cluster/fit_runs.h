// What a run of this machine costs beside its kernels, from small real runs. Pure.
#pragma once

#include <span>
#include <vector>

#include "scheduler/cluster/cluster.h"
#include "scheduler/work.h"

namespace weft::runtime {

/// A small run that was carried out.
struct RunStep {
  scheduler::Work work;
  double seconds = 0;    // from the beginning of a step to that of the next
  double computing = 0;  // of that, a rank's own compute phases; 0: not known
  double between = 0;    // of that, what lies between a rank's training passes; 0: not known
  double weight = 1;     // how much it counts
};

/// Changes `cluster`, a CPU host, such that the model says what these steps took: by how much its
/// kernels are slower in a run (one factor for all their rates), node.crowding, kernels.touch,
/// kernels.exchange, node.handover, node.wakeup and node.idle_wakeup. kernels.step stays near what
/// lies between passes; where few runs speak of a figure it stays near what it was; a run that is
/// far off all others counts less. Returns each run's predicted over
/// measured step afterwards; empty (and nothing is changed) when the model has no answer for one of
/// them.
std::vector<double> fit_runs(std::span<const RunStep> runs, scheduler::Cluster& cluster);

/// Of the runs of one shape, `shapes` behind each other, the slower one counts less the slower it
/// is: what disturbs a run makes it slower.
void weigh_repeated(std::span<RunStep> runs, std::size_t shapes);

/// Every rate of its kernels by 1 / `times`.
void slow_down(scheduler::Cluster& cluster, double times);

}  // namespace weft::runtime

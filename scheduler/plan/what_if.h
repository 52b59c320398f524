// "nodes=-2,expert=32,checkpoint=5m": changes to a plan's inputs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "scheduler/cluster/cluster.h"
#include "scheduler/time/step_time.h"
#include "scheduler/work.h"

namespace weft::scheduler {

struct Inputs {
  Work work;
  Cluster cluster;
  TimeAssumptions assumptions;
  double checkpoint_seconds = 0;  // asked for; 0: the job's steps decide
  double steps_done = 0;          // of a run, before those that `work` counts
};

struct WhatIfKey {
  std::string_view key;
  std::string_view help;
};
/// What `apply` knows beside the paths of a cluster's figures (such as gpu.memory=96GB).
std::vector<WhatIfKey> what_if_keys();

/// Changes the inputs, in order. A number with a sign is added to what there is. With fewer GPUs
/// than the layout needs, lanes are given up (whole expert groups), and the batch stays about as
/// large. Returns what follows beside what was asked ("data: 128 -> 64"). Errors: InvalidArgument
/// naming every item that is wrong, with "did you mean"; `inputs` are then not to be used.
Expected<std::vector<std::string>> apply_what_if(std::string_view text, Inputs& inputs);

}  // namespace weft::scheduler

// What a run will be like: does it fit, how fast is it, when does it end and what does it cost.
// Pure; everything that is assumed is in the inputs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scheduler/cluster/cluster.h"
#include "scheduler/memory/rank_bytes.h"
#include "scheduler/time/step_time.h"
#include "scheduler/work.h"

namespace weft::scheduler {

/// Of the whole run. Times in seconds, with failures; an interval holds with 90 % probability.
struct RunCost {
  double steps = 0, tokens = 0;
  double seconds = 0, seconds_low = 0, seconds_high = 0;
  double productive = 0;   // of `seconds`, in steps that count
  double checkpoints = 0;  // held up by them
  double failures = 0;     // expected number of them
  double lost = 0;         // by failures: steps done again, restarts
  double gpu_hours = 0, dollars = 0, kilowatt_hours = 0;
  double goodput() const { return seconds > 0 ? productive / seconds : 1; }
};

struct Prediction {
  Work work;
  bool fits = false;  // the busiest rank's bytes, and the cluster's GPUs
  bool deadlock_free = false;
  int gpus = 0, nodes = 0, spare_nodes = 0;
  bool timed = false;  // else nothing that rests on `step` is known (see problems)
  StepTime step;
  std::vector<RankBytes> memory;  // per position
  int fullest = 0;                // position
  double tokens_per_second = 0;
  double mfu = 0, mfu_full = 0;       // causal; as if each token attended to all
  double checkpoint_stall = 0;        // seconds each
  std::optional<RunCost> run;         // where the job says how many steps
  std::vector<std::string> problems;  // why it does not fit; proposals() says what would

  double peak_bytes() const { return memory[static_cast<std::size_t>(fullest)].total(); }
};

/// Errors: InvalidArgument for a layout that no schedule or model allows; what merely does not fit
/// into the cluster is a Prediction with problems.
Expected<Prediction> predict(const Work& work, const Cluster& cluster,
                             const TimeAssumptions& assumptions = {});

/// Whether its GPUs compute in it.
bool has_precision(Precision precision, const Cluster& cluster);

/// A run of so many steps of so many seconds. `stall`: seconds that a checkpoint holds it up.
RunCost run_cost(const Work& work, const Cluster& cluster, double step_seconds, double stall,
                 int nodes);

/// Seconds that one checkpoint holds the run up: the copy to the host's memory where the cluster
/// says how fast that is, else the whole write.
double checkpoint_stall(const Work& work, const Cluster& cluster);

/// The interval that loses least to checkpoints and failures together, in seconds, and no less than
/// one takes to be written; 0: no failures. Source: Young (1974), first-order approximation.
double best_checkpoint_interval(const Work& work, const Cluster& cluster, int nodes);

}  // namespace weft::scheduler

// How long a step takes: phase costs -> merged pairs -> the schedule's timeline -> the step's end.
#pragma once

#include <string>
#include <vector>

#include "dualpipe/timeline.h"
#include "scheduler/cluster/cluster.h"
#include "scheduler/time/phase_work.h"
#include "scheduler/work.h"

namespace weft::scheduler {

/// What no data sheet says. Each is printed with the results.
struct TimeAssumptions {
  RowWise row_wise;
  /// An expert's share of the tokens varies so much from one sequence to the next (standard
  /// deviation over mean). Assumed; 0: routing is perfectly balanced.
  double load_variation = 0.7;
  /// An exchange takes so much longer while kernels run beside it. Calibrated: 20.0 ms a layer pair
  /// in profile-data train.json against 13.0 ms by DeepEP's bandwidths.
  double exchange_slowdown = 1.53;
  /// The compute lane of an overlapped pair idles so much of its busy time beside what the merged
  /// order exposes (notifications, launches). Calibrated: train.json, 129.0 ms against 118.2 ms.
  double pair_idle = 129.0 / 118.2 - 1;
  /// Compute of every rank waits for one that is so much slower. Llama 3 paper, 3.3.4: 1-2 % over
  /// the day, by temperature.
  double straggler = 1.015;
};

/// Seconds of one step; the mean over ranks where ranks differ.
struct StepTime {
  double forward = 0;                         // forwards that run alone
  double backward_input = 0;                  // input part of backwards that run alone
  double backward_weight = 0;                 // weight part of these
  double pairs = 0;                           // overlapped pairs
  double bubble = 0;                          // the rest, until the last rank's pass has ended
  double reduce = 0, gather = 0, update = 0;  // gradients, weights, optimizer
  double optimizer() const { return reduce + gather + update; }
  double total = 0;

  double bubble_of_schedule = 0;  // of `bubble`, with messages that take no time
  double exposed_exchange = 0;    // that the compute lane waits for, in all passes
  double exchange = 0;            // on the communication lane
  double imbalance = 1;
  double pair = 0, forward_one = 0, input_one = 0, weight_one = 0;  // one of each, mean
  std::vector<double> rank_busy, rank_bubble;                       // per position
};

/// Rows of the busiest rank over the mean, as far as others wait for it.
double busiest_rows(const Work& work, const Cluster& cluster, const TimeAssumptions& assumptions);

/// Times of one pass of a stage, for those who want phases (rehearsal, comparison with a trace).
double phase_seconds(const Work& work, const Cluster& cluster, const StageBlocks& stage,
                     const dualpipe::PhaseStep& step, bool overlapped,
                     const TimeAssumptions& assumptions = {});

/// Errors: InvalidArgument for a layout that the schedule or the model does not allow.
Expected<StepTime> step_time(const Work& work, const Cluster& cluster,
                             const TimeAssumptions& assumptions = {});

}  // namespace weft::scheduler

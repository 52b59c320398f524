// Predicted beside measured: the time model's seconds of each phase against what a rank's flight
// recorder holds, and a cluster description corrected by it. Pure.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/expected.h"
#include "dualpipe/measured.h"
#include "dualpipe/merge_phases.h"
#include "scheduler/cluster/cluster.h"
#include "scheduler/time/step_time.h"
#include "scheduler/work.h"

namespace weft::runtime {

/// What phases of one kind took on one rank, a step's training pass together.
struct PhaseDrift {
  std::string phase;  // "attention", "experts backward", "dispatch", ...
  int rank = 0;
  int count = 0;
  double predicted = 0;  // seconds
  double measured = 0;
  double ratio() const { return predicted > 0 ? measured / predicted : 0; }
};

struct Drift {
  std::vector<PhaseDrift> ranks;                 // by phase, then rank
  std::vector<PhaseDrift> phases;                // rank -1: over all ranks
  double step_predicted = 0, step_measured = 0;  // seconds, from one step's beginning to the next
  double step_low = 0, step_high = 0;            // quartiles of what was measured
  /// The worst phase of one rank beside that phase's median rank: somebody is slow.
  int slowest_rank = -1;
  std::string slowest_phase;
  double slowest_ratio = 1;
};

/// Seconds of one phase of a stage. `overlapped`: it ran in an overlapped pair.
using PhaseSeconds =
    std::function<double(int stage, const dualpipe::PhaseStep& step, bool overlapped)>;

/// `steps`: whole ones, as recorded. Errors: NotFound when none has a training pass with phases.
Expected<Drift> compare(const std::vector<dualpipe::MeasuredStep>& steps,
                        const PhaseSeconds& predicted, double step_predicted);

/// The model's answer for this work on this cluster.
Expected<Drift> compare(const std::vector<dualpipe::MeasuredStep>& steps,
                        const scheduler::Work& work, const scheduler::Cluster& cluster);

/// `cluster` with the figures that this run speaks of such that it comes out as measured: the rates
/// of its products and attention (within 2 % where a rate can do that), of a CPU host those of its
/// own precision, and what a step takes beside its phases (kernels.step); else the bandwidths of
/// its exchanges. Changed figures say so in their source. Errors: as compare.
Expected<scheduler::Cluster> calibrated(const std::vector<dualpipe::MeasuredStep>& steps,
                                        const scheduler::Work& work, scheduler::Cluster cluster,
                                        const std::string& run);

/// Figures of time that no calibration has changed: the runs do not speak of them, or were as told.
std::vector<std::string> not_calibrated(const scheduler::Cluster& cluster);

/// "phase  predicted  measured  ratio" a line, and who is slow.
std::string describe(const Drift& drift);
/// One line: the step, the phase of most seconds that is furthest off, and who is slow.
std::string summary(const Drift& drift);

}  // namespace weft::runtime

// Small real training steps on this machine: worlds of engines side by side, as many ranks at the
// same time as a run would have, so that caches, memory, clock rate and cores are shared as in one.
#pragma once

#include <vector>

#include "base/expected.h"
#include "scheduler/time/phase_work.h"

namespace weft::runtime {

/// Synthetic model and micro-batches; every layout of one position.
struct ProbeShape {
  int hidden = 128, heads = 8;
  int sequences = 2, tokens = 40;  // of a micro-batch
  int micro_batches = 4;           // a lane
  int data = 1, expert = 1;        // of one world
  int worlds = 1;                  // at the same time
  int layers = 2;                  // the first one is dense
  scheduler::Precision precision = scheduler::Precision::F32;
};

struct ProbeRun {
  scheduler::Work work;
  scheduler::StageBlocks stage;  // the only one
  struct Phase {
    dualpipe::PhaseStep step;
    double seconds = 0;  // the median: what a phase takes that no other rank interrupted, and
                         // that finds its weights packed
    double count = 0;    // of them in a rank's step
  };
  std::vector<Phase> phases;
  /// Of a rank's step: what phases take more when they find the weights changed and pack them
  /// again.
  double packing = 0;
  /// What an exchange takes of a rank's own time: the lower quartile, as the upper ones wait.
  double exchange = 0;
  /// Processor seconds of a rank's step: the mean step, times the cores, over the ranks there.
  double step = 0;
  /// Of that, what neither phases nor packing account for: exchanges, sums, the optimizer.
  double rest() const;
};

/// Runs for about `seconds`. Threads: starts worlds x data of its own. Errors: those of the engine
/// and the transport.
Expected<ProbeRun> run_probe(const ProbeShape& shape, int cores, double seconds);

}  // namespace weft::runtime

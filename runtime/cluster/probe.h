// This machine as a cluster description: what weft's own kernels, its shared-memory transport and
// the disk reach here.
#pragma once

#include <functional>
#include <string>

#include "base/expected.h"
#include "scheduler/cluster/cluster.h"

namespace weft::runtime {

/// Measurements shorter than this are a quick look: fewer and smaller steps, and no small runs.
constexpr double kQuickLook = 0.1;

struct ProbeOptions {
  double seconds = 0.5;  // of each measurement
  int workers = 4;       // devices of the description; they share the cores
  /// The weft that small runs are started with; "": none are, and what a run costs beside its
  /// kernels is taken from threads of this process.
  std::string program;
};

/// Takes a minute and a half at the default. `talk`: one line for each measurement.
/// Errors: Io when the temporary directory cannot be written; those of the transport.
Expected<scheduler::Cluster> probe_machine(const ProbeOptions& options,
                                           const std::function<void(const std::string&)>& talk);

/// Rates of the trainer's kernels, from the phases of small blocks: least squares of their times
/// over products, attention, row-wise bytes and a constant. Fills gpu's and kernels' figures.
Expected<void> probe_kernels(const ProbeOptions& options, scheduler::Cluster& cluster,
                             const std::function<void(const std::string&)>& talk);

/// What small runs take beside that, three times each: crowding, exchanges, step ends. Nothing
/// without `options.program`. Errors: those of a run.
Expected<void> probe_runs(const ProbeOptions& options, scheduler::Cluster& cluster,
                          const std::function<void(const std::string&)>& talk);

}  // namespace weft::runtime

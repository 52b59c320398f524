// A run at full scale that no GPU takes part in: the real decisions of coordinator and agents, the
// real schedule, checkpoint files, run directory and metrics, with virtual workers on simulated
// time, and with faults. One thread; the same seed gives the same directory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "runtime/job/job.h"
#include "runtime/rehearse/faults.h"
#include "runtime/rehearse/goodput.h"
#include "runtime/rehearse/step_model.h"
#include "runtime/sim/event_queue.h"
#include "runtime/store/run_store.h"
#include "scheduler/cluster/cluster.h"

namespace weft::runtime {

struct RehearsalOptions {
  std::uint64_t seed = 1;
  double horizon = 86400;        // seconds of the run; then it is asked to stop
  long long steps = 0;           // the recipe ends after so many; 0: as the job says
  int spares = 0;                // nodes beyond what the job needs
  std::vector<Fault> faults;     // ascending in time
  bool swap_stragglers = false;  // the coordinator exchanges nodes that are slow
  double speed = 0;              // simulated seconds a real one; 0: as fast as it goes
};

/// What the rehearsal takes for granted; in run.json and the README.
struct RehearsalAssumptions {
  double start_seconds = 10;       // from the order to a worker's hello
  double load_seconds = 120;       // checkpoint, communicators, first allocations
  double write_seconds = 10;       // of a checkpoint, beside the steps
  double stall_seconds = 0.2;      // steps wait while it is copied to host memory
  double straggler_seconds = 120;  // until a slow device is flagged
};
RehearsalAssumptions assumptions_for(const Job& job, const scheduler::Cluster& cluster);

struct RehearsalResult {
  RunState state = RunState::Failed;
  std::string reason;
  long long steps = 0;
  std::int64_t generations = 0, terms = 0;
  int faults = 0;  // that happened
  int lost_steps = 0;
  double simulated_seconds = 0;
  Goodput goodput;
};

/// Progress for a terminal; may be empty functions.
struct RehearsalObserver {
  std::function<void(const nlohmann::json& record)> step;
  std::function<void(const std::string& kind, const std::string& message)> event;
  std::function<bool()> stop;  // asked now and then: end here
};

/// Fills `store`, whose clock must be `clock`. `times`: of this job on this cluster. Errors: Io of
/// the run directory; InvalidArgument when the cluster has fewer devices than the job has ranks.
Expected<RehearsalResult> rehearse(const Job& job, const scheduler::Cluster& cluster,
                                   const RehearsalOptions& options, StepModel times,
                                   RunStore& store, sim::SimulatedClock& clock,
                                   const RehearsalObserver& observer);

/// Devices a node, nodes that the job needs: what a fault script may name.
FaultGrid fault_grid(const Job& job, const scheduler::Cluster& cluster,
                     const RehearsalOptions& options);

}  // namespace weft::runtime

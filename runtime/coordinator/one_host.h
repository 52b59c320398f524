// The older decisions of one generation on one host, as local_run.h still carries them out; what
// every new shell uses is coordinator.h.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/expected.h"
#include "runtime/coordinator/messages.h"

namespace weft::runtime::one_host {

// --- What happened -------------------------------------------------------------------------------

struct WorkerHello {
  int rank = 0;
};
struct WorkerDone {
  int rank = 0;
  bool stopped_early = false;
};
/// The worker reported an error of its own before leaving.
struct WorkerFailed {
  int rank = 0;
  Error error;
};
/// The process is gone. signal 0: it exited with `exit_code`.
struct WorkerExited {
  int rank = 0;
  int exit_code = 0;
  int signal = 0;
};
/// The user asked to stop (an interrupt, or `weft cancel`).
struct StopAsked {};
/// Something on the coordinator's own side failed, such as writing the run directory.
struct ShellFailed {
  Error error;
};
struct Tick {};
using Event =
    std::variant<WorkerHello, WorkerDone, WorkerFailed, WorkerExited, StopAsked, ShellFailed, Tick>;

// --- What to do about it -------------------------------------------------------------------------

struct SendAssignment {
  int rank = 0;
};
/// Ask the worker to finish its step, save and leave.
struct SendStop {
  int rank = 0;
};
struct SendShutdown {
  int rank = 0;
};
/// End every wait between ranks at once with this reason.
struct AbortWaits {
  std::string reason;
};
struct KillWorker {
  int rank = 0;
  bool hard = false;
};  // hard: SIGKILL, else SIGTERM
using CoordinatorAction =
    std::variant<SendAssignment, SendStop, SendShutdown, AbortWaits, KillWorker>;

// --- What is known -------------------------------------------------------------------------------

struct CoordinatorState {
  enum class Phase { Forming, Running, Ending, Ended };
  enum class Worker { Starting, Working, Done, Gone };

  Phase phase = Phase::Forming;
  Outcome outcome = Outcome::Undecided;
  std::vector<Worker> workers;
  Instant deadline{};  // of the present phase; not used while Running
  int stops_asked = 0;
  bool killed_hard = false;
  int culprit = -1;  // the rank that failed first
  Code cause = Code::Internal;
  std::string reason;  // why the outcome is what it is
};

struct CoordinatorOptions {
  Duration forming_bound = std::chrono::seconds(60);  // until every worker said hello
  Duration ending_bound = std::chrono::seconds(5);    // between letting workers go and killing them
  Duration killing_bound =
      std::chrono::seconds(1);  // between SIGTERM and SIGKILL: a stopped process
};

struct Decision {
  CoordinatorState state;
  std::vector<CoordinatorAction> actions;
  std::string reason;  // empty: nothing that a person would want to know
};

CoordinatorState start_state(int world_size, Instant now, const CoordinatorOptions& options);

/// The first failure is the cause: what other workers report once their waits were ended is a
/// consequence of it and is not shown as the cause.
Decision decide(CoordinatorState state, const Event& event, Instant now,
                const CoordinatorOptions& options);

/// "exit code 3" or "signal 9 (Killed)".
std::string describe_exit(const WorkerExited& exited);

}  // namespace weft::runtime::one_host

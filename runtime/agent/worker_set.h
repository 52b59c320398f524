// The workers of one generation on this node: their processes, the shared memory between them, the
// control plane that they talk over, and the spool that keeps what they said. Knows nothing of why;
// it starts, listens, and ends them.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/expected.h"
#include "runtime/agent/spool.h"
#include "runtime/job/job.h"
#include "runtime/store/run_store.h"

namespace weft::comm {
class LocalWorld;
}

namespace weft::runtime {

class ControlServer;

struct WorkerSaidHello {
  int rank = 0;
};
/// A step's metrics came: a sign of life of all.
struct WorkersStepped {
  long long step = 0;
  double step_seconds = 0;
};
struct WorkersSaved {
  long long step = 0;
};
struct WorkerFinished {
  int rank = 0;
  bool stopped_early = false;
};
struct WorkerSaidFailed {
  int rank = 0;
  Error error;
};
struct WorkerGone {
  int rank = 0;
  int exit_code = 0;
  int signal = 0;  // not 0: it ended the process
};
using WorkerNews = std::variant<WorkerSaidHello, WorkersStepped, WorkersSaved, WorkerFinished,
                                WorkerSaidFailed, WorkerGone>;

struct WorkerSetOptions {
  int generation = 1;
  int attempt = 1;         // names what the workers leave behind: unique in the run directory
  int world = 1;           // ranks, of all nodes
  std::vector<int> ranks;  // here, ascending
  std::string node;
  RunPaths paths;
};

/// Told of each record that the workers report, for whoever watches this node's terminal.
struct RecordObserver {
  std::function<void(const nlohmann::json& record)> step;
  std::function<void(const std::string& kind, const std::string& message)> event;
};

/// Threads: one, the main one: workers die with it (PR_SET_PDEATHSIG).
class WorkerSet {
 public:
  /// Starts every worker. Errors: those of memory, sockets and processes; nobody is left then.
  static Expected<std::unique_ptr<WorkerSet>> start(const Job& job, WorkerSetOptions options,
                                                    const RecordObserver& observer);
  /// Ends every wait and every process that is still there, and returns when they are gone.
  ~WorkerSet();

  int generation() const { return options_.generation; }
  const std::vector<int>& ranks() const { return options_.ranks; }
  std::vector<pid_t> processes() const;  // by index in ranks(); -1: gone
  bool all_gone() const;

  /// Waits at most `timeout`, or until one of `descriptors` is readable; what happened meanwhile.
  /// Errors: Io, when the spool cannot be written.
  Expected<std::vector<WorkerNews>> poll(std::chrono::milliseconds timeout,
                                         std::span<const int> descriptors);

  void assign(int rank);
  void ask_to_stop();
  /// Lets a worker go that has said how it ended.
  void let_go(int rank);
  /// Ends every wait between the ranks with this reason.
  void abort(const std::string& reason);
  void kill(int rank, bool hard);

 private:
  WorkerSet(const Job& job, WorkerSetOptions options, const RecordObserver& observer);
  Expected<void> open();
  Expected<void> start_worker(std::size_t index);
  void reap(std::vector<WorkerNews>& news);
  Expected<void> listen(std::chrono::milliseconds timeout, std::span<const int> descriptors,
                        std::vector<WorkerNews>& news);
  Expected<void> take(int rank, const nlohmann::json& message, std::vector<WorkerNews>& news);
  void observe(const std::string& type, const nlohmann::json& message,
               std::vector<WorkerNews>& news);

  const Job& job_;
  WorkerSetOptions options_;
  const RecordObserver& observer_;
  std::string assignment_;  // the JSON text that every worker is sent
  std::unique_ptr<ControlServer> control_;
  std::unique_ptr<comm::LocalWorld> memory_;
  std::optional<SpoolWriter> spool_;
  std::vector<pid_t> pids_;
};

}  // namespace weft::runtime

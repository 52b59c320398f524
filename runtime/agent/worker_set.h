// The workers of one generation on this node: their processes, the shared memory between them and
// the control plane that they talk over. Ranks are those of the world everywhere; only in shared
// memory is the i-th rank of this node, ascending, number i. Knows nothing of why; it starts,
// listens, and ends them.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/expected.h"
#include "runtime/agent/spool.h"
#include "runtime/control/channel.h"
#include "runtime/coordinator/agent.h"
#include "runtime/job/job.h"
#include "runtime/store/run_store.h"

namespace weft::comm {
class LocalWorld;
}

namespace weft::runtime {

class ControlServer;

struct WorkerSetOptions {
  std::int64_t generation = 1;
  int world = 1;           // ranks, of all nodes
  std::vector<int> ranks;  // here
  RunPaths paths;
  /// For ranks on several nodes: where those here can be reached, and what all of them know.
  std::string listen = "127.0.0.1";
  Secret secret{};
  std::filesystem::path memory;  // where workers keep copies of their state; empty: nowhere
  std::string no_memory;         // why so
  std::string node, leaf;        // ours
};

/// What workers said and did since the last look.
struct WorkerNews {
  std::vector<AgentEvent> events;    // in order; each RecordMade has its bytes in `records`
  std::vector<SpoolRecord> records;  // in order
};

/// Threads: one, the main one: workers die with it (PR_SET_PDEATHSIG).
class WorkerSet {
 public:
  /// Memory and keys; no process yet. Errors: those of memory and sockets.
  static Expected<std::unique_ptr<WorkerSet>> make(const Job& job, WorkerSetOptions options);
  /// Ends every wait and every process that is still there, and returns when they are gone.
  ~WorkerSet();

  std::int64_t generation() const { return options_.generation; }
  /// Errors: those of processes.
  Expected<void> spawn_worker(int rank);

  /// Waits at most `timeout`, or until one of `descriptors` is readable.
  Expected<WorkerNews> poll(std::chrono::milliseconds timeout, std::span<const int> descriptors);

  /// `addresses`: by rank of the world, as the workers said them; null when all ranks are here.
  void assign(int rank, const std::optional<Checkpoint>& resume,
              const std::vector<std::string>* addresses);
  void ask_to_stop(int rank);
  void ask_to_save(int rank, const SaveRequest& save);
  /// Lets a worker go that has said how it ended.
  void let_go(int rank);
  void answer_flush(int rank, std::int64_t id);
  /// Ends every wait between the ranks with this reason.
  void abort(const std::string& reason);
  void kill(int rank, bool hard);
  /// Ranks whose process exists and stands still (SIGSTOP).
  std::vector<int> stopped() const;

 private:
  struct Worker {
    pid_t pid = -1;
    std::int64_t records = 0;  // so far: the next one's sequence
  };
  WorkerSet(const Job& job, WorkerSetOptions options);
  bool spans_nodes() const { return static_cast<int>(options_.ranks.size()) < options_.world; }
  Expected<void> open();
  Expected<void> listen(std::chrono::milliseconds timeout, std::span<const int> descriptors,
                        WorkerNews& news);
  void reap(WorkerNews& news);
  void take(int rank, const nlohmann::json& message, WorkerNews& news);
  bool miss_records(int rank, std::int64_t sent, WorkerNews& news);
  void take_record(int rank, const std::string& type, const nlohmann::json& message,
                   WorkerNews& news);

  const Job& job_;
  WorkerSetOptions options_;
  std::unique_ptr<ControlServer> control_;
  std::unique_ptr<comm::LocalWorld> memory_;
  std::vector<std::pair<int, Worker>> workers_;  // by rank, as spawned
  Worker* find(int rank);
};

}  // namespace weft::runtime

// The agent's loop; not for others to include. agent_loop.cpp: what comes in, deciding, the end;
// agent_watch.cpp: whom it watches; agent_actions.cpp: what is done about it.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <tuple>

#include "runtime/agent/agent_shell.h"
#include "runtime/agent/claims.h"
#include "runtime/agent/memory_root.h"
#include "runtime/agent/node_metrics.h"
#include "runtime/agent/signals.h"
#include "runtime/agent/spool.h"
#include "runtime/agent/worker_set.h"
#include "runtime/control/channel.h"
#include "runtime/control/messages.h"

namespace weft::runtime {

/// Threads: one. All that it is made of outlives it.
class AgentLoop {
 public:
  AgentLoop(const Job& job, const AgentSetup& setup, const RunObserver& observer,
            const Clock& clock)
      : job_(job), setup_(setup), observer_(observer), clock_(clock) {}

  /// Until the run has ended, or this node's part in it.
  RunResult run();

 private:
  using BytesKey = std::tuple<std::int64_t, int, std::int64_t>;  // generation, rank, sequence

  Expected<void> begin();
  RunResult end();
  static RunResult failed(const Error& error);

  // What comes in
  void wait();
  void keep(SpoolRecord record);
  void hear_leader();
  void forget(const Acknowledgement& stored);

  // Whom it watches
  void hear_coordinator();
  void take_status(const nlohmann::json& said);
  void look_for_stopped();
  void look_after_coordinator();
  void tell_metrics();

  // Deciding
  void tell(AgentEvent event);
  void log_reason(const std::string& reason);

  // Doing: workers
  void act(const MakeWorld& make);
  void act(const SpawnWorker& spawn);
  void act(const AssignWorker& assign);
  void act(const TellStop& stop);
  void act(const TellSave& save);
  void act(const TellShutdown& shutdown);
  void act(const AbortWaits& abort);
  void act(const KillWorker& kill);
  void find_memory(WorkerSetOptions& options);
  bool has(std::int64_t generation) const;

  // Doing: records
  void act(const AppendSpool& append);
  void act(const AnswerFlush& answer);
  void act(const SendReport& send);
  void act(const SendRecords& send);
  void append_all();
  void post(const WireMessage& message);

  // Doing: who leads
  void act(const ReadClaims&);
  void act(const ClaimTerm& claim);
  void act(const StartCoordinator& start);
  void act(const KillCoordinator&);
  void act(const Connect& connect);
  void act(const LeaveRun& leave);
  void connect_to(const std::string& endpoint);

  const Job& job_;
  const AgentSetup& setup_;
  const RunObserver& observer_;
  const Clock& clock_;
  AgentOptions options_;
  SignalDescriptor signals_;
  AgentState state_;
  std::deque<AgentEvent> events_;
  bool telling_ = false;

  std::unique_ptr<SpoolWriter> spool_;
  std::map<BytesKey, SpoolRecord> bytes_;  // of records that are not stored yet
  std::deque<AppendSpool> appends_;        // not in the spool file yet
  Instant next_append_{};                  // when what failed is tried again

  /// Outlives the workers; null: not needed yet, or there is none.
  std::unique_ptr<MemoryRoot> memory_;
  std::unique_ptr<WorkerSet> workers_;
  std::string world_error_;           // why there is none
  std::map<int, int> looks_stopped_;  // how often a rank was seen to stand still, in a row
  Instant next_look_{};

  std::unique_ptr<CoordinatorChild> child_;
  std::unique_ptr<ChannelClient> client_;
  Instant next_coordinator_look_{};
  Instant coordinator_waits_{};  // for a disk: when it said so last
  int silent_looks_ = 0;         // in a row at which our coordinator had said nothing for long

  std::unique_ptr<NodeMetrics> metrics_;  // null: not served
  Instant next_metrics_{};

  bool left_ = false;
  std::optional<LeaveRun> leaving_;
  std::optional<RunResult> conclusion_;  // as our coordinator said
  std::optional<Error> refused_;
  std::string said_;  // why our coordinator ended
};

}  // namespace weft::runtime

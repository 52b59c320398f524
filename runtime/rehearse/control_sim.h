// The control plane of a whole cluster in one process: the real decisions of every agent and of the
// coordinator, with messages, the shared directory and processes simulated. What workers do is
// somebody else's business (VirtualWorkers).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/coordinator/agent.h"
#include "runtime/coordinator/coordinator.h"
#include "runtime/rehearse/event_queue.h"

namespace weft::runtime {

/// What agents do to workers and the coordinator to the run directory. `node`: its index.
class VirtualWorkers {
 public:
  virtual ~VirtualWorkers() = default;
  virtual void spawn(int node, std::int64_t generation, const RankSlot& where) = 0;
  virtual void assign(int node, const AssignWorker& work) = 0;
  virtual void stop(int rank) = 0;
  virtual void save(int rank, const SaveRequest& request) = 0;
  virtual void shut_down(int node, int rank) = 0;
  virtual void abort(std::int64_t generation, const std::string& reason) = 0;
  virtual void kill(int node, std::int64_t generation, int rank, bool hard) = 0;
  /// Before the agents' tick: tell them where their workers are.
  virtual void tell_positions() = 0;

  virtual std::vector<Checkpoint> checkpoints() = 0;
  virtual void store(const StoreRecords& records) = 0;
  virtual void truncate(std::int64_t step) = 0;
  virtual WaitsExplained explain(std::int64_t generation) = 0;
  /// What the coordinator, or an agent, says for people.
  virtual void said(const std::string& by, const std::string& reason) = 0;
};

class ControlSim {
 public:
  struct Options {
    CoordinatorOptions coordinator;
    AgentOptions agent;
    Duration latency = std::chrono::milliseconds(1);  // of a message
    Duration read = std::chrono::milliseconds(5);     // of the shared directory
    Duration start_coordinator = std::chrono::milliseconds(500);
    Duration tick = std::chrono::milliseconds(200);
    /// While nothing is about to happen everything that is periodic is so much slower; a day has
    /// too many heartbeats.
    int calm_factor = 60;
  };
  struct NodeSetup {
    std::string name;
    int slots = 1;
  };

  ControlSim(const std::vector<NodeSetup>& nodes, int world, const Options& options,
             EventQueue& events, VirtualWorkers& workers);

  /// All agents start now.
  void start();
  /// An agent hears of one of its workers.
  void tell(int node, AgentEvent event);
  /// The coordinator hears it, if there is one.
  void ask(Event event);
  /// The host is gone, with its agent, workers and, if it was there, the coordinator.
  void kill_node(int node);
  void start_node(int node);
  bool is_up(int node) const { return agents_[node].up; }
  int num_up() const;

  /// Slow everything periodic down, or back to normal.
  void set_calm(bool calm);
  bool calm() const { return calm_; }

  const CoordinatorState* leader() const { return leader_ ? &leader_->state : nullptr; }
  /// The run is over and every agent has left.
  bool over() const;
  const std::optional<RunEnd>& end() const { return end_; }
  std::int64_t terms() const { return static_cast<std::int64_t>(claims_.size()); }

 private:
  struct Agent {
    std::string name;
    int slots = 1;
    int roster = 0;
    bool up = false;
    std::uint64_t incarnation = 0;
    AgentState state;
    std::int64_t connected = 0;  // the term whose leader its reports go to
  };
  struct Leader {
    std::int64_t term = 0;
    int node = 0;
    CoordinatorState state;
  };

  void tick();
  void tick_later();
  void apply(int node, const AgentEvent& event);
  void lead(const Event& event);
  void stop_leading(CoordinatorExited::How how, const std::string& reason);
  CoordinatorState read_journal() const;
  void start_leading(int node, std::int64_t term);
  void to_leader(int node, Event event);
  void to_node(const std::string& name, AgentEvent event);
  void later(int node, Duration delay, AgentEvent event);
  void later(Duration delay, Event event);
  void read_spool(const ReadSpool& spool);

  void act(int node, const MakeWorld&) { (void)node; }
  void act(int node, const SpawnWorker& a) { workers_.spawn(node, a.generation, a.where); }
  void act(int node, const AssignWorker& a) { workers_.assign(node, a); }
  void act(int, const TellStop& a) { workers_.stop(a.rank); }
  void act(int, const TellSave& a) { workers_.save(a.rank, a.save); }
  void act(int node, const TellShutdown& a) { workers_.shut_down(node, a.rank); }
  void act(int, const AbortWaits& a) { workers_.abort(a.generation, a.reason); }
  void act(int node, const KillWorker& a) { workers_.kill(node, a.generation, a.rank, a.hard); }
  void act(int node, const AppendSpool& a);
  void act(int, const AnswerFlush&) {}
  void act(int node, const SendReport& a) { to_leader(node, a.report); }
  void act(int node, const SendRecords& a) { to_leader(node, a.records); }
  void act(int node, const ReadClaims&);
  void act(int node, const ClaimTerm& a);
  void act(int node, const StartCoordinator& a);
  void act(int node, const KillCoordinator&);
  void act(int node, const Connect& a) { agents_[node].connected = a.leader.term; }
  void act(int node, const LeaveRun& a);

  void act(const SendOrder& a) { to_node(a.node, a.order); }
  void act(const SendBeat& a) { to_node(a.node, a.beat); }
  void act(const SendAcknowledgement& a) { to_node(a.node, a.acknowledgement); }
  void act(const ClaimGeneration& a);
  void act(const ListCheckpoints&);
  void act(const StoreRecords& a);
  void act(const TruncateAfter& a) { workers_.truncate(a.step); }
  void act(const ReadSpool& a) { read_spool(a); }
  void act(const RenewLease& a);
  void act(const ExplainWaits& a);
  void act(const RecordEnd& a);
  void act(const StepDown& a);

  Options options_;
  AgentOptions agent_options_;  // as slow as now wanted
  CoordinatorOptions coordinator_options_;
  bool calm_ = false;
  std::uint64_t chain_ = 0;  // of ticks
  int world_;
  EventQueue& events_;
  VirtualWorkers& workers_;
  std::vector<Agent> agents_;
  std::map<std::string, int> index_;
  std::optional<Leader> leader_;
  std::optional<CoordinatorState> journal_;  // read through its JSON, as from the file
  Instant journaled_{};
  // The shared directory.
  std::map<std::pair<std::string, std::uint64_t>, AgentState> left_behind_;  // spools of the dead
  std::map<std::int64_t, Claim> claims_;
  std::map<std::int64_t, std::int64_t> generations_;  // number -> term that claimed it
  std::map<std::pair<std::int64_t, int>, std::int64_t> stored_;
  std::optional<RunEnd> end_;
};

}  // namespace weft::runtime

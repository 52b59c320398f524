// A cluster in one process on simulated time: the real decisions of agents and coordinator around a
// simulated network, clocks, shared run directory and processes. One seed draws every delay and
// chance, so that the same options, workers and faults give the same run, event by event. What the
// workers do is handed in (workers.h). Used by tests/sim and by rehearsals of a job at full scale.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "runtime/coordinator/agent.h"
#include "runtime/coordinator/coordinator.h"
#include "runtime/sim/directory.h"
#include "runtime/sim/event_queue.h"
#include "runtime/sim/workers.h"

namespace weft::runtime::sim {

/// Control messages between nodes; also between a node and itself.
struct NetOptions {
  Duration delay_min = std::chrono::microseconds(100);
  Duration delay_max = std::chrono::milliseconds(3);
  double slow = 0;  // chance of a message that takes up to slow_max instead
  Duration slow_max = std::chrono::milliseconds(800);
  double loss = 0, duplicate = 0;  // chances
};

struct WorldOptions {
  std::uint64_t seed = 1;
  int nodes = 1;        // spares included
  int slots = 1;        // of each node
  int world = 1;        // ranks
  int name_digits = 5;  // nodes are n00000, n00001, ...
  int leaf_nodes = 0;   // so many in a row say that they hang on one leaf switch; 0: none says
  NetOptions net;
  Duration directory_delay_max = std::chrono::milliseconds(20);  // of one access
  Duration coordinator_tick = std::chrono::milliseconds(200);
  Duration agent_tick = std::chrono::milliseconds(100);
  /// A dead agent's launcher starts it again after this; 0: never.
  Duration agent_restart = std::chrono::seconds(5);
  CoordinatorOptions coordinator;
  AgentOptions agent;
};

/// Something that happens to the world. `length` 0: it does not end by itself.
struct Fault {
  enum class Kind {
    KillWorker,        // the worker of a rank
    StopWorker,        // SIGSTOP, SIGCONT after `length`
    FailWorker,        // it reports an error of `code`
    KillAgent,         // with everything on its node; its launcher starts it again
    StopAgent,         // its workers go on
    KillCoordinator,   // whichever leads
    StopCoordinator,   //
    CutNode,           // no messages to and from other nodes, control and data
    CutDirectory,      // the node cannot reach the shared directory
    FailDirectory,     // writes fail, everywhere
    JumpClock,         // the node's clock, forward by `length`
    DamageCheckpoint,  // the newest one does not load
    LoseNode,          // switched off, comes back after `length`
  };
  Kind kind = Kind::KillWorker;
  Duration at{};
  int target = 0;  // rank or node, by kind
  Duration length{};
  Code code = Code::Internal;  // FailWorker
};
std::string describe(const Fault& fault);

/// What happens, as it happens. Everything is optional.
struct Observer {
  /// After every decision of a coordinator. `before` is not kept: compare with what you remember.
  std::function<void(Duration at, const CoordinatorState& state, const Event& event,
                     const std::string& reason)>
      decided;
  /// After every decision of an agent.
  std::function<void(Duration at, const AgentState& state, const AgentEvent& event,
                     const std::string& reason)>
      agent_decided;
  /// The ranks of a generation completed a step together.
  std::function<void(Duration at, std::int64_t generation, std::int64_t step)> stepped;
  /// The ranks of a generation begin to step from a copy in memory; `whole`: every part of it is in
  /// the memory of their nodes.
  std::function<void(Duration at, std::int64_t generation, bool whole)> resumed_from_memory;
  /// A coordinator wrote a record into the store of its term.
  std::function<void(std::int64_t generation, int rank, std::int64_t sequence)> stored;
  /// Steps after this one are done anew.
  std::function<void(std::int64_t step)> truncated;
  std::function<void(Duration at, const Fault& fault)> struck;
};

/// How it stands, after run().
struct Summary {
  bool ended = false;  // every process is gone, by its own decision
  RunEnd end;
  Duration at{};
  long long messages = 0;   // delivered
  long long decisions = 0;  // of coordinators
  long long agent_decisions = 0;
  std::uint64_t hash = 0;  // of everything that was decided, in order
};

class World {
 public:
  /// `events` and `workers` must outlive the world. Every agent starts now (plus what the seed
  /// says).
  World(const WorldOptions& options, EventQueue& events, Workers& workers, Observer observer = {});
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// Before or while running; `at` in the past: now.
  void inject(const Fault& fault);
  /// A person's request, told to whichever coordinator leads at that time (again every second until
  /// one took it).
  void ask(Duration at, const Event& request);
  /// Undoes every fault that has not ended yet, starts what is down, and makes the network good.
  void heal(Duration at);
  /// 1: as the options say. More: everything periodic is so much slower, and silence counts so much
  /// later; a day has too many heartbeats. Back at 1, all report at once, and silence is judged by
  /// the normal bounds 3 s later.
  void set_pace(int factor);

  /// Runs until everybody has left or `bound` of simulated time is reached.
  Summary run(Duration bound);

  Duration now() const;
  Directory& directory();
  const Directory& directory() const;
  /// The state of the coordinator with the highest term, or null when none runs.
  const CoordinatorState* leader() const;
  /// As the agents that left understood it.
  const RunEnd& end() const;
  bool is_up(int node) const;  // its agent runs
  /// The run has ended and no agent runs; nodes that are off do not count.
  bool deserted() const;

  // --- For workers
  /// Local: never lost, in order; dropped unless the agent of this incarnation lives.
  void tell(int node, std::uint64_t incarnation, const AgentEvent& event);
  /// An access of a process of `node` to the shared directory; `access` is told whether it
  /// succeeded. write: fails while the directory cannot be written.
  void touch(int node, bool write, std::function<void(bool ok)> access);
  /// Data between nodes gets through.
  bool reachable(int a, int b) const;
  std::string node_name(int node) const;
  const Observer& observer() const;
  // From the world's seed.
  Duration draw(Duration low, Duration high);
  bool chance(double probability);
  int below(int bound);

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace weft::runtime::sim

// The world's insides; not for others to include. world: time, network, clocks; world_agent and
// world_coordinator: the two shells; world_workers: ranks; world_faults: what goes wrong.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "runtime/sim/world.h"

namespace weft::runtime::sim {

/// A process of the simulated cluster: what is meant for it waits while it is stopped, and is
/// dropped once it is dead.
struct Process {
  bool alive = true;
  bool stopped = false;
  std::deque<std::function<void()>> inbox;  // while stopped
};

struct AgentProcess : Process {
  std::uint64_t incarnation = 0;
  AgentState state;
  std::optional<Claim> connected;
  std::deque<Directory::Spooled> appends;  // the spool file's queue, the first being written
  bool appending = false;
};

struct CoordinatorProcess : Process {
  std::int64_t term = 0;
  int node = 0;
  bool began = false;  // read its journal
  bool published = false;
  CoordinatorState state;
  struct Step {
    std::shared_ptr<const CoordinatorState> journal;  // to be written first; null: nothing
    Instant at{};
    std::vector<CoordinatorAction> actions;
  };
  std::deque<Step> steps;                // actions that wait for the journal
  bool journaling = false;               // the first of them is being written
  std::deque<CoordinatorAction> stores;  // the record store's queue
  bool storing = false;
  bool failing = false;
};

struct NodeBox {
  std::string name;
  bool on = true;
  Duration clock{};  // ahead of the world's time
  int island = 0;    // nodes of different islands do not hear each other
  bool directory = true;
  std::uint64_t next_incarnation = 1;
  std::shared_ptr<AgentProcess> agent;              // null: not running
  std::shared_ptr<CoordinatorProcess> coordinator;  // its child
  bool left = false;                                // its agent left the run
};

/// One worker process.
struct Rank : Process {
  int rank = 0, node = 0;
  std::uint64_t incarnation = 0;  // of its agent
  bool assigned = false, loaded = false, failed = false, done = false;
  bool told_stop = false;
  SaveRequest told_save;
};

/// The workers of one generation, which step together.
struct Group {
  std::int64_t generation = 0;
  std::int64_t resume = 0, step = 0;
  std::vector<std::shared_ptr<Rank>> ranks;  // null: not started
  int num_loaded = 0;
  bool begun = false, over = false, saving = false;
  std::int64_t sequence = 0;  // of rank 0's records
  std::int64_t flush = 0;
  std::int64_t saved_request = 0;
  bool stopping = false;
  std::optional<Duration> stalled_since;
  std::int64_t ticket = 0;  // events of an older one are void
};

struct World::Impl {
  Impl(const WorldOptions& options, const WorkerModel& model, Observer observer);
  ~Impl() {
    // What waits for a stopped process holds on to it.
    for (const std::weak_ptr<Process>& process : processes)
      if (const auto left = process.lock()) left->inbox.clear();
  }

  // --- world.cpp: time, chance, network
  using Action = std::function<void()>;
  void after(Duration delay, Action action);
  void at_time(Duration at, Action action);
  Duration draw(Duration low, Duration high);
  bool chance(double probability);
  Instant clock(int node) const;
  bool reachable(int a, int b) const;
  void send(int from, int to, Action deliver);
  /// An access to the shared directory by a process of `node`; `access` says whether it succeeded.
  /// write: fails while the directory cannot be written.
  void touch(int node, bool write, std::function<void(bool ok)> access);
  template <class P>
  void to(const std::shared_ptr<P>& process, Action action) {
    if (!process || !process->alive) return;
    if (process->stopped)
      process->inbox.push_back(std::move(action));
    else
      action();
  }
  void resume(const std::shared_ptr<Process>& process);
  void mix(std::uint64_t value) { hash = (hash ^ value) * 0x100000001b3ull; }
  void mix_text(const std::string& text) { mix(fnv1a(text)); }
  int index_of(const std::string& node) const;
  Summary run(Duration bound);
  bool everybody_left() const;

  // --- world_agent.cpp
  void start_agent_process(int node);
  void kill_agent(int node);
  void agent_tick(int node, const std::shared_ptr<AgentProcess>& agent);
  void tell_agent(int node, const std::shared_ptr<AgentProcess>& agent, const AgentEvent& event);
  void do_agent(int node, const std::shared_ptr<AgentProcess>& agent, const AgentAction& action);
  void pump_spool(int node, const std::shared_ptr<AgentProcess>& agent);
  void show_positions(int node, const std::shared_ptr<AgentProcess>& agent);

  // --- world_coordinator.cpp
  void start_coordinator(int node, std::int64_t term);
  void begin_term(const std::shared_ptr<CoordinatorProcess>& c);
  void publish(const std::shared_ptr<CoordinatorProcess>& c);
  void coordinator_tick(const std::shared_ptr<CoordinatorProcess>& c);
  void tell_coordinator(const std::shared_ptr<CoordinatorProcess>& c, const Event& event);
  void pump_steps(const std::shared_ptr<CoordinatorProcess>& c);
  void pump_stores(const std::shared_ptr<CoordinatorProcess>& c);
  void do_coordinator(const std::shared_ptr<CoordinatorProcess>& c,
                      const CoordinatorAction& action);
  void read_spool(const std::shared_ptr<CoordinatorProcess>& c, const ReadSpool& read);
  void end_coordinator(const std::shared_ptr<CoordinatorProcess>& c, CoordinatorExited::How how,
                       const std::string& reason);
  void to_agent(const std::shared_ptr<CoordinatorProcess>& c, const std::string& node,
                const AgentEvent& event);

  // --- world_workers.cpp
  void spawn(int node, const std::shared_ptr<AgentProcess>& agent, const SpawnWorker& spawn);
  void assign(const AssignWorker& assign, int node);
  void kill_worker(std::int64_t generation, int rank, int node, bool hard, int signal);
  void worker_gone(const std::shared_ptr<Rank>& rank, std::int64_t generation, int exit_code,
                   int signal);
  void fail_worker(Group& group, Rank& rank, const Error& error, int blames,
                   const std::string& damaged = "");
  void tell_about(const Rank& rank, const AgentEvent& event);
  void abort_waits(std::int64_t generation, int node, const std::string& reason);
  void begin_step(Group& group);
  void try_step(std::int64_t generation, std::int64_t ticket);
  int first_missing(const Group& group) const;  // the rank that holds the others up, or -1
  void stall(Group& group, int missing);
  void complete_step(Group& group);
  void save(Group& group, std::int64_t request);
  void commit(std::int64_t generation, std::int64_t step, std::int64_t request);
  void after_save(Group& group);
  void all_done(Group& group, bool early);
  std::shared_ptr<Rank> find_rank(std::int64_t generation, int rank) const;

  // --- world_faults.cpp
  void strike(const Fault& fault);
  void strike_worker(const Fault& fault);
  void strike_agent(const Fault& fault);
  void strike_coordinator(const Fault& fault);
  void strike_world(const Fault& fault);
  void heal();

  const WorldOptions options;
  const WorkerModel& model;
  const Observer observer;
  Rng rng;
  Directory directory;
  int directory_failing = 0;
  bool good_network = false;  // since it was healed: nothing is lost, doubled or slow
  std::vector<std::weak_ptr<Process>> processes;  // ever started
  std::vector<NodeBox> nodes;
  std::map<std::int64_t, Group> groups;
  Duration now{};
  std::uint64_t hash = 0xcbf29ce484222325ull;
  long long messages = 0, decisions = 0, agent_decisions = 0;
  RunEnd end;

  struct Later {
    Duration at;
    std::uint64_t number;
    std::shared_ptr<Action> action;
    bool operator<(const Later& other) const {
      return std::tie(other.at, other.number) < std::tie(at, number);
    }
  };
  std::priority_queue<Later> queue;
  std::uint64_t num_events = 0;
};

}  // namespace weft::runtime::sim

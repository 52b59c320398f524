// The world's insides; not for others to include. world: time, network, clocks; world_agent and
// world_coordinator: the two shells; world_pace: how often; world_faults: what goes wrong.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "runtime/sim/process.h"
#include "runtime/sim/world.h"

namespace weft::runtime::sim {

struct AgentProcess : Process {
  std::uint64_t incarnation = 0;
  AgentState state;
  std::uint64_t ticks = 0;  // which chain of ticks goes on
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
  std::uint64_t ticks = 0;  // which chain of ticks goes on
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

struct World::Impl {
  Impl(const WorldOptions& options, EventQueue& events, Workers& workers, Observer observer);

  // --- world.cpp: time, chance, network
  using Action = std::function<void()>;
  void after(Duration delay, Action action) { events.after(delay, std::move(action)); }
  void at_time(Duration at, Action action) { events.at(Instant(at), std::move(action)); }
  Duration now() const { return events.now().time_since_epoch(); }
  Duration draw(Duration low, Duration high);
  bool chance(double probability);
  Instant clock(int node) const;
  bool reachable(int a, int b) const;
  void send(int from, int to, Action arrive);
  void touch(int node, bool write, std::function<void(bool ok)> access);
  void mix(std::uint64_t value) { hash = (hash ^ value) * 0x100000001b3ull; }
  void mix_text(const std::string& text) { mix(fnv1a(text)); }
  std::string node_name(int node) const;
  int index_of(const std::string& node) const;
  Summary run(Duration bound);
  bool everybody_left() const;

  // --- world_agent.cpp
  void start_agent_process(int node);
  void kill_agent(int node);
  void agent_tick(int node, const std::shared_ptr<AgentProcess>& agent, std::uint64_t chain);
  void agent_tick_after(Duration delay, int node, const std::shared_ptr<AgentProcess>& agent);
  void tell_agent(int node, const std::shared_ptr<AgentProcess>& agent, const AgentEvent& event);
  void do_agent(int node, const std::shared_ptr<AgentProcess>& agent, const AgentAction& action);
  void pump_spool(int node, const std::shared_ptr<AgentProcess>& agent);
  void show_positions(int node, const std::shared_ptr<AgentProcess>& agent);

  // --- world_coordinator.cpp
  void start_coordinator(int node, std::int64_t term);
  void begin_term(const std::shared_ptr<CoordinatorProcess>& c);
  void publish(const std::shared_ptr<CoordinatorProcess>& c);
  void coordinator_tick(const std::shared_ptr<CoordinatorProcess>& c, std::uint64_t chain);
  void tell_coordinator(const std::shared_ptr<CoordinatorProcess>& c, const Event& event);
  void pump_steps(const std::shared_ptr<CoordinatorProcess>& c);
  void store_record(std::int64_t term, const StoreRecords& store, std::int64_t sequence);
  void pump_stores(const std::shared_ptr<CoordinatorProcess>& c);
  void do_coordinator(const std::shared_ptr<CoordinatorProcess>& c,
                      const CoordinatorAction& action);
  void read_spool(const std::shared_ptr<CoordinatorProcess>& c, const ReadSpool& read);
  void end_coordinator(const std::shared_ptr<CoordinatorProcess>& c, CoordinatorExited::How how,
                       const std::string& reason);
  void to_agent(const std::shared_ptr<CoordinatorProcess>& c, const std::string& node,
                const AgentEvent& event);

  // --- world_pace.cpp
  void set_pace(int factor);
  void restart_ticks();

  // --- world_faults.cpp
  void strike(const Fault& fault);
  void strike_agent(const Fault& fault);
  void strike_coordinator(const Fault& fault);
  void strike_world(const Fault& fault);
  void heal();

  const WorldOptions options;
  EventQueue& events;
  Workers& workers;
  const Observer observer;
  AgentOptions agent_options;  // at the present pace
  CoordinatorOptions coordinator_options;
  int pace = 1;
  Rng rng;
  Directory directory;
  int directory_failing = 0;
  bool good_network = false;  // since it was healed: nothing is lost, doubled or slow
  Processes processes;
  std::vector<NodeBox> nodes;
  std::map<std::string, int> index;
  std::uint64_t hash = 0xcbf29ce484222325ull;
  long long messages = 0, decisions = 0, agent_decisions = 0;
  RunEnd end;
};

}  // namespace weft::runtime::sim

// The coordinator's and the agent's pure decisions on a bench: what a test tells them, and what
// they then want done.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "runtime/coordinator/agent.h"
#include "runtime/coordinator/coordinator.h"

namespace weft::runtime {

/// What was decided to be done, in order.
template <class AnyAction>
struct ActionsSoFar {
  template <class Action>
  int count() const {
    int n = 0;
    for (const auto& action : actions) n += std::holds_alternative<Action>(action);
    return n;
  }
  template <class Action>
  const Action* last() const {
    const Action* found = nullptr;
    for (const auto& action : actions)
      if (const auto* one = std::get_if<Action>(&action)) found = one;
    return found;
  }

  std::vector<AnyAction> actions;
};

/// A coordinator and the agents' side of the talk, reduced to what a test says.
struct CoordinatorBench : ActionsSoFar<CoordinatorAction> {
  explicit CoordinatorBench(int world) : state(start_state(world, clock.now(), options)) {
    clock.advance(std::chrono::hours(1));
    tell(TermBegan{1, "a", {}, ""});
  }

  void tell(const Event& event) {
    Decision decision = decide(std::move(state), event, clock.now(), options);
    state = std::move(decision.state);
    for (auto& action : decision.actions) actions.push_back(std::move(action));
    if (!decision.reason.empty()) reasons += decision.reason + "\n";
    durable = decision.durable;
  }
  /// The node as it stands, said again.
  Report& of(const std::string& node) {
    Report& report = nodes[node];
    report.node = node;
    report.term = state.term;
    if (report.incarnation == 0) report.incarnation = 1;
    return report;
  }
  void join(const std::string& node, int slots, int roster = 0) {
    Report& report = of(node);
    report.facts = NodeFacts{};
    report.facts->slots = slots;
    report.facts->roster = roster;
    say(node);
  }
  void say(const std::string& node) {
    Report& report = of(node);
    ++report.number;
    const auto known = state.nodes.find(node);
    if (known != state.nodes.end()) report.order = known->second.order.number;
    tell(report);
    report.facts.reset();
  }
  /// Answers the claim and the list of checkpoints.
  void let_form(const std::vector<Checkpoint>& checkpoints = {}) {
    tell(GenerationClaimed{state.generation, true});
    tell(CheckpointsListed{checkpoints});
  }
  /// Every placed worker of every node reaches this phase.
  void all(WorkerPhase phase, std::int64_t step = -1, bool early = false) {
    std::map<std::string, std::vector<WorkerStatus>> workers;
    for (int rank = 0; rank < state.world; ++rank) {
      WorkerStatus status;
      status.rank = rank;
      status.phase = phase;
      status.step = step;
      status.stopped_early = early;
      status.activity = Activity::Stepping;
      status.step_time = std::chrono::seconds(1);
      workers[state.placement[rank].node].push_back(status);
    }
    const std::int64_t generation = state.generation;
    for (auto& [node, statuses] : workers) {
      of(node).generation = generation;
      of(node).workers = std::move(statuses);
      say(node);
    }
  }
  WorkerStatus& worker(int rank) {
    for (auto& [name, report] : nodes)
      for (WorkerStatus& status : report.workers)
        if (status.rank == rank) return status;
    ADD_FAILURE() << "no worker " << rank;
    static WorkerStatus none;
    return none;
  }
  void die(int rank, int signal = 9) {
    WorkerStatus& status = worker(rank);
    status.phase = WorkerPhase::Failed;
    status.gone = true;
    status.failure = WorkerFailure{};
    status.failure->signal = signal;
    say(state.placement[rank].node);
  }
  /// As ordered: what still lives is killed.
  void let_end() {
    for (auto& [name, report] : nodes) {
      if (silent.contains(name)) continue;
      for (WorkerStatus& status : report.workers) {
        if (!status.gone && status.phase != WorkerPhase::Done) {
          status.phase = WorkerPhase::Failed;
          if (!status.failure) {
            status.failure = WorkerFailure{};
            status.failure->ordered = true;
          }
        }
        status.gone = true;
      }
      say(name);
    }
  }
  void run(int nodes_count, int slots) {
    for (int i = 0; i < nodes_count; ++i)
      join(std::string(1, static_cast<char>('a' + i)), slots, i);
    let_form();
    all(WorkerPhase::Ready);
    all(WorkerPhase::Working, 0);
  }
  void beat(Duration length) {
    constexpr std::chrono::milliseconds kTick{200};
    for (Duration at{}; at < length; at += kTick) {
      clock.advance(kTick);
      for (auto& [name, report] : nodes)
        if (!silent.contains(name)) say(name);
      tell(Tick{});
      if (state.phase == RunPhase::Ended || state.deposed) return;
    }
  }
  bool said(const std::string& what) const { return reasons.find(what) != std::string::npos; }

  SimClock clock;
  CoordinatorOptions options;
  CoordinatorState state;
  std::map<std::string, Report> nodes;
  std::set<std::string> silent;
  std::string reasons;
  bool durable = false;
};

/// An agent that follows term 1 of another node.
struct AgentBench : ActionsSoFar<AgentAction> {
  AgentBench() {
    clock.advance(std::chrono::hours(1));
    NodeFacts facts;
    facts.slots = 2;
    state = start_agent("b", 1, facts, clock.now());
    tell(AgentTick{});
    Claims claims;
    claims.highest = Claim{1, "a", 1, "tcp://a:1", 0, false};
    tell(ClaimsRead{claims});
    actions.clear();
  }
  void tell(const AgentEvent& event) {
    AgentDecision decision = agent_decide(std::move(state), event, clock.now(), options);
    state = std::move(decision.state);
    for (auto& action : decision.actions) actions.push_back(std::move(action));
  }
  Order order(Wanted wanted, std::int64_t generation = 1) {
    Order made;
    made.term = 1;
    made.number = ++number;
    made.generation = generation;
    made.wanted = wanted;
    if (wanted == Wanted::Prepare || wanted == Wanted::Work) made.ranks = {{4, 0}, {5, 1}};
    made.reason = "a test says so";
    return made;
  }
  void work() {
    tell(order(Wanted::Prepare));
    tell(WorkerHello{1, 4, "x:4"});
    tell(WorkerHello{1, 5, "x:5"});
    tell(order(Wanted::Work));
  }

  SimClock clock;
  AgentOptions options;
  AgentState state;
  std::int64_t number = 0;
};

}  // namespace weft::runtime

#include "runtime/rehearse/control_sim.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/coordinator/state_json.h"

namespace weft::runtime {
namespace {

constexpr const char* kVersion = "rehearsal";
// Between asking everybody to report and judging silence by the normal bounds again.
constexpr auto kWakeUp = std::chrono::seconds(3);

CoordinatorOptions slowed(CoordinatorOptions options, int factor) {
  options.heartbeat *= factor;
  options.rejoin_bound *= factor;
  options.lease_renew *= factor;
  options.lease_lost_bound *= factor;
  options.tick_gap *= 2 * factor;
  return options;
}

AgentOptions slowed(AgentOptions options, int factor) {
  options.heartbeat *= factor;
  options.resend *= factor;
  options.election.silent_bound *= 2 * factor;
  options.election.lease_bound *= 2 * factor;
  return options;
}

}  // namespace

ControlSim::ControlSim(const std::vector<NodeSetup>& nodes, int world, const Options& options,
                       EventQueue& events, VirtualWorkers& workers)
    : options_(options),
      agent_options_(options.agent),
      coordinator_options_(options.coordinator),
      world_(world),
      events_(events),
      workers_(workers) {
  options_.agent.alone = agent_options_.alone = nodes.size() == 1;
  for (const NodeSetup& node : nodes) {
    Agent& agent = agents_.emplace_back();
    agent.name = node.name;
    agent.slots = node.slots;
    agent.roster = static_cast<int>(agents_.size()) - 1;
    index_[node.name] = agent.roster;
  }
}

void ControlSim::start() {
  for (int node = 0; node < static_cast<int>(agents_.size()); ++node) start_node(node);
  tick();
}

void ControlSim::start_node(int node) {
  Agent& agent = agents_[node];
  if (agent.up) return;
  agent.up = true;
  ++agent.incarnation;
  agent.connected = 0;
  NodeFacts facts;
  facts.slots = agent.slots;
  facts.roster = agent.roster;
  facts.version = kVersion;
  facts.address = agent.name;
  agent.state = start_agent(agent.name, agent.incarnation, std::move(facts), events_.now());
}

void ControlSim::kill_node(int node) {
  Agent& agent = agents_[node];
  if (agent.up) left_behind_[{agent.name, agent.incarnation}] = std::move(agent.state);
  agent.up = false;
  if (leader_ && leader_->node == node) leader_.reset();
}

int ControlSim::num_up() const {
  return static_cast<int>(std::ranges::count_if(agents_, &Agent::up));
}

bool ControlSim::over() const { return end_ && std::ranges::none_of(agents_, &Agent::up); }

void ControlSim::set_calm(bool calm) {
  if (calm == calm_) return;
  calm_ = calm;
  if (calm) {
    agent_options_ = slowed(options_.agent, options_.calm_factor);
    coordinator_options_ = slowed(options_.coordinator, options_.calm_factor);
    return tick_later();
  }
  // Reports that were put off come now; silence counts once they can have arrived.
  for (Agent& agent : agents_) agent.state.next_report = events_.now();
  agent_options_.heartbeat = options_.agent.heartbeat;
  agent_options_.resend = options_.agent.resend;
  coordinator_options_.lease_renew = options_.coordinator.lease_renew;
  if (leader_) leader_->state.next_lease = events_.now();
  events_.after(kWakeUp, [this] {
    if (calm_) return;
    agent_options_ = options_.agent;
    coordinator_options_ = options_.coordinator;
  });
  tick_later();
}

void ControlSim::tick() {
  workers_.tell_positions();
  for (int node = 0; node < static_cast<int>(agents_.size()); ++node) apply(node, AgentTick{});
  lead(Tick{});
  if (!over()) tick_later();
}

/// A change of pace begins another chain of ticks; the one before ends.
void ControlSim::tick_later() {
  events_.after(calm_ ? options_.tick * options_.calm_factor : options_.tick,
                [this, chain = ++chain_] {
                  if (chain == chain_) tick();
                });
}

void ControlSim::tell(int node, AgentEvent event) { later(node, Duration(0), std::move(event)); }
void ControlSim::ask(Event event) { later(Duration(0), std::move(event)); }

void ControlSim::later(int node, Duration delay, AgentEvent event) {
  const std::uint64_t incarnation = agents_[node].incarnation;
  events_.after(delay, [this, node, incarnation, event = std::move(event)] {
    if (agents_[node].incarnation == incarnation) apply(node, event);
  });
}

void ControlSim::later(Duration delay, Event event) {
  if (!leader_) return;
  events_.after(delay, [this, term = leader_->term, event = std::move(event)] {
    if (leader_ && leader_->term == term) lead(event);
  });
}

void ControlSim::to_leader(int node, Event event) {
  const std::int64_t term = agents_[node].connected;
  events_.after(options_.latency, [this, term, event = std::move(event)] {
    if (leader_ && leader_->term == term) lead(event);
  });
}

void ControlSim::to_node(const std::string& name, AgentEvent event) {
  if (const auto found = index_.find(name); found != index_.end())
    later(found->second, options_.latency, std::move(event));
}

void ControlSim::apply(int node, const AgentEvent& event) {
  Agent& agent = agents_[node];
  if (!agent.up) return;
  AgentDecision decision =
      agent_decide(std::move(agent.state), event, events_.now(), agent_options_);
  agent.state = std::move(decision.state);
  if (!decision.reason.empty()) workers_.said(agent.name, decision.reason);
  for (const AgentAction& action : decision.actions)
    std::visit([&](const auto& what) { act(node, what); }, action);
}

void ControlSim::lead(const Event& event) {
  if (!leader_) return;
  Decision decision = decide(std::move(leader_->state), event, events_.now(), coordinator_options_);
  leader_->state = std::move(decision.state);
  if (decision.durable) {
    journal_ = leader_->state;
    journaled_ = events_.now();
  }
  if (!decision.reason.empty()) workers_.said("coordinator", decision.reason);
  const std::int64_t term = leader_->term;
  for (const CoordinatorAction& action : decision.actions) {
    if (!leader_ || leader_->term != term) return;
    std::visit([&](const auto& what) { act(what); }, action);
  }
  if (leader_ && leader_->term == term && leader_->state.phase == RunPhase::Ended)
    stop_leading(CoordinatorExited::How::Ended, leader_->state.reason);
}

CoordinatorState ControlSim::read_journal() const {
  if (journal_)
    if (auto state = state_from_json(to_json(*journal_, journaled_), events_.now())) return *state;
  return start_state(world_, events_.now(), coordinator_options_);
}

void ControlSim::start_leading(int node, std::int64_t term) {
  if (!agents_[node].up) return;
  claims_[term].endpoint = agents_[node].name;
  Leader leader{term, node, {}};
  leader.state = journal_ ? *journal_ : start_state(world_, events_.now(), coordinator_options_);
  leader_ = std::move(leader);
  agents_[node].connected = term;
  lead(TermBegan{term, agents_[node].name, stored_});
}

void ControlSim::stop_leading(CoordinatorExited::How how, const std::string& reason) {
  const Leader leader = std::move(*leader_);
  leader_.reset();
  CoordinatorExited exited;
  exited.term = leader.term;
  exited.how = how;
  if (end_) exited.outcome = end_->outcome;
  exited.reason = reason;
  later(leader.node, options_.latency, std::move(exited));
}

// --- Agents' actions -----------------------------------------------------------------------------

void ControlSim::act(int node, const AppendSpool& a) {
  later(node, options_.latency, SpoolWritten{a.generation, a.rank, a.key.sequence + 1});
}

void ControlSim::act(int node, const ReadClaims&) {
  Claims claims;
  if (!claims_.empty()) claims.highest = claims_.rbegin()->second;
  if (!generations_.empty()) claims.generation = generations_.rbegin()->first;
  claims.end = end_;
  later(node, options_.read, ClaimsRead{std::move(claims)});
}

void ControlSim::act(int node, const ClaimTerm& a) {
  const bool won = !claims_.contains(a.term);
  if (won) claims_[a.term] = {a.term, agents_[node].name, agents_[node].incarnation, "", 0, false};
  later(node, options_.read, ClaimDecided{a.term, won});
}

void ControlSim::act(int node, const StartCoordinator& a) {
  const std::uint64_t incarnation = agents_[node].incarnation;
  events_.after(options_.start_coordinator, [this, node, incarnation, term = a.term] {
    if (agents_[node].incarnation == incarnation) start_leading(node, term);
  });
}

void ControlSim::act(int node, const KillCoordinator&) {
  if (leader_ && leader_->node == node) stop_leading(CoordinatorExited::How::Crashed, "killed");
}

void ControlSim::act(int node, const LeaveRun&) { agents_[node].up = false; }

// --- The coordinator's actions -------------------------------------------------------------------

void ControlSim::act(const ClaimGeneration& a) {
  const std::int64_t term = generations_.try_emplace(a.number, leader_->term).first->second;
  later(options_.read, GenerationClaimed{a.number, term == leader_->term});
}

void ControlSim::act(const ListCheckpoints&) {
  later(options_.read, CheckpointsListed{workers_.checkpoints()});
}

void ControlSim::act(const StoreRecords& a) {
  workers_.store(a);
  std::int64_t& next = stored_[{a.generation, a.rank}];
  next = std::max(next, a.next);
  later(options_.read, RecordsStored{a.node, a.generation, a.rank, a.next});
}

void ControlSim::read_spool(const ReadSpool& a) {
  // The state of a dead agent stands for its file.
  if (const auto dead = left_behind_.find({a.node, a.incarnation}); dead != left_behind_.end())
    for (const auto& [key, spool] : dead->second.spools) {
      Records records{a.node, a.incarnation, key.first, key.second, {}};
      for (const RecordKey& record : spool.waiting)
        if (record.sequence < spool.written) records.keys.push_back(record);
      if (!records.keys.empty()) later(options_.read, std::move(records));
    }
  later(options_.read, SpoolRead{a.node, a.incarnation});
}

void ControlSim::act(const RenewLease& a) {
  claims_[a.term].beat = a.beat;
  later(options_.read, LeaseRenewed{claims_.rbegin()->first});
}

void ControlSim::act(const ExplainWaits& a) {
  later(options_.read, workers_.explain(a.generation));
}

void ControlSim::act(const RecordEnd& a) {
  end_ = RunEnd{a.outcome, a.reason};
  later(options_.read, EndRecorded{});
}

void ControlSim::act(const StepDown& a) {
  claims_[leader_->term].abdicated = a.abdicated;
  stop_leading(end_          ? CoordinatorExited::How::Ended
               : a.abdicated ? CoordinatorExited::How::Abdicated
                             : CoordinatorExited::How::SteppedDown,
               a.reason);
}

}  // namespace weft::runtime

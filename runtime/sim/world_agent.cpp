// The shell around an agent's decisions.
#include "runtime/sim/world_impl.h"

namespace weft::runtime::sim {

void World::Impl::start_agent_process(int node) {
  NodeBox& box = nodes[node];
  if (!box.on || box.agent || box.left) return;
  auto agent = std::make_shared<AgentProcess>();
  processes.add(agent);
  agent->incarnation = box.next_incarnation++;
  NodeFacts facts;
  facts.slots = options.slots;
  facts.roster = node;
  facts.version = "simulated";
  facts.address = box.name;
  if (options.leaf_nodes > 0) facts.leaf = "leaf" + std::to_string(node / options.leaf_nodes);
  agent->state = start_agent(box.name, agent->incarnation, facts, clock(node));
  box.agent = agent;
  agent_tick_after(draw(Duration::zero(), options.agent_tick), node, agent);
}

/// With everything that hangs on it: workers and coordinator die with their agent.
void World::Impl::kill_agent(int node) {
  NodeBox& box = nodes[node];
  if (box.coordinator) box.coordinator->alive = false;
  box.coordinator.reset();
  if (!box.agent) return;
  const std::shared_ptr<AgentProcess> agent = box.agent;
  agent->alive = false;
  box.agent.reset();
  workers.agent_died(node, agent->incarnation);
}

/// A change of pace begins another chain of ticks; the one before ends.
void World::Impl::agent_tick(int node, const std::shared_ptr<AgentProcess>& agent,
                             std::uint64_t chain) {
  if (!agent->alive || agent->ticks != chain) return;
  if (!agent->stopped) {
    show_positions(node, agent);
    tell_agent(node, agent, AgentTick{});
  }
  if (agent->ticks == chain) agent_tick_after(pace * options.agent_tick, node, agent);
}

void World::Impl::agent_tick_after(Duration delay, int node,
                                   const std::shared_ptr<AgentProcess>& agent) {
  after(delay, [this, node, agent, chain = agent->ticks] { agent_tick(node, agent, chain); });
}

/// What the agent would read from its workers' rings, as often as it is going to report it.
void World::Impl::show_positions(int node, const std::shared_ptr<AgentProcess>& agent) {
  if (clock(node) < agent->state.next_report) return;
  for (const WorkerMoved& moved : workers.positions(node, agent->state))
    tell_agent(node, agent, moved);
}

void World::Impl::tell_agent(int node, const std::shared_ptr<AgentProcess>& agent,
                             const AgentEvent& event) {
  if (!agent->alive) return;
  ++agent_decisions;
  AgentDecision decision = agent_decide(std::move(agent->state), event, clock(node), agent_options);
  agent->state = std::move(decision.state);
  if (!decision.reason.empty()) mix_text(decision.reason);
  if (observer.agent_decided) observer.agent_decided(now(), agent->state, event, decision.reason);
  for (const AgentAction& action : decision.actions) {
    if (!agent->alive) return;
    do_agent(node, agent, action);
  }
}

/// One agent's spool file: appended in order, tried again until it works.
void World::Impl::pump_spool(int node, const std::shared_ptr<AgentProcess>& agent) {
  if (!agent->alive || agent->appending || agent->appends.empty()) return;
  agent->appending = true;
  touch(node, true, [this, node, agent](bool ok) {
    // What reached the file is there, even when nobody lives to hear of it.
    const Directory::Spooled record = agent->appends.front();
    if (ok) {
      agent->appends.pop_front();
      directory.append_spool(nodes[node].name, agent->incarnation, record);
    }
    deliver(agent, [this, node, agent, ok, record] {
      agent->appending = false;
      if (ok) {
        tell_agent(node, agent,
                   SpoolWritten{record.generation, record.rank, record.key.sequence + 1});
        pump_spool(node, agent);
      } else {
        tell_agent(node, agent, SpoolFailed{{Code::Io, "no space left on device"}});
        after(std::chrono::milliseconds(500), [this, node, agent] { pump_spool(node, agent); });
      }
    });
  });
}

namespace {

template <class... Ts>
struct Match : Ts... {
  using Ts::operator()...;
};

}  // namespace

void World::Impl::do_agent(int node, const std::shared_ptr<AgentProcess>& agent,
                           const AgentAction& action) {
  // To the coordinator that the agent is connected to, if it still runs.
  const auto to_leader = [&](auto message) {
    if (!agent->connected) return;
    const int target = index_of(agent->connected->node);
    const std::int64_t term = agent->connected->term;
    if (target < 0) return;
    const auto shared = std::make_shared<const Event>(std::move(message));
    send(node, target, [this, target, term, shared] {
      const std::shared_ptr<CoordinatorProcess> c = nodes[target].coordinator;
      if (!c || c->term != term) return;
      deliver(c, [this, c, shared] {
        if (c->began) tell_coordinator(c, *shared);
      });
    });
  };
  const auto back = [this, node, agent](auto&& event) { tell_agent(node, agent, event); };
  std::visit(
      Match{
          [&](const MakeWorld& made) { workers.make_world(made); },
          [&](const SpawnWorker& one) { workers.spawn(node, agent->incarnation, one); },
          [&](const AssignWorker& one) { workers.assign(node, one); },
          [&](const TellStop& stop) { workers.tell_stop(agent->state.generation, stop.rank); },
          [&](const TellSave& tell) {
            workers.tell_save(agent->state.generation, tell.rank, tell.save);
          },
          [&](const TellShutdown& shutdown) {
            workers.shut_down(agent->state.generation, shutdown.rank);
          },
          [&](const AbortWaits& abort) { workers.abort_waits(node, abort); },
          [&](const KillWorker& kill) { workers.kill(node, kill); },
          [&](const AppendSpool& append) {
            agent->appends.push_back({append.generation, append.rank, append.key});
            pump_spool(node, agent);
          },
          [&](const AnswerFlush& answer) { workers.flushed(agent->state.generation, answer); },
          [&](const SendReport& report) { to_leader(report.report); },
          [&](const SendRecords& records) { to_leader(records.records); },
          [&](const ReadClaims&) {
            touch(node, false, [this, agent, back](bool ok) {
              const Claims claims = directory.claims();
              deliver(agent, [=] {
                if (ok)
                  back(ClaimsRead{claims});
                else
                  back(ClaimsUnreadable{{Code::Io, "the run directory cannot be read"}});
              });
            });
          },
          [&](const ClaimTerm& wanted) {
            Claim claim;
            claim.term = wanted.term;
            claim.node = nodes[node].name;
            claim.incarnation = agent->incarnation;
            touch(node, true, [this, agent, back, claim](bool ok) {
              const bool won = ok && agent->alive && directory.claim_term(claim);
              deliver(agent, [=] { back(ClaimDecided{claim.term, won}); });
            });
          },
          [&](const StartCoordinator& start) { start_coordinator(node, start.term); },
          [&](const KillCoordinator&) {
            if (const auto c = nodes[node].coordinator)
              after(std::chrono::milliseconds(2), [this, c] {
                end_coordinator(c, CoordinatorExited::How::Crashed, "signal 9 (Killed)");
              });
          },
          [&](const Connect& connect) { agent->connected = connect.leader; },
          [&](const LeaveRun& leave) {
            if (leave.outcome != Outcome::Undecided && end.outcome == Outcome::Undecided)
              end = {leave.outcome, leave.reason};
            kill_agent(node);
            nodes[node].left = true;
          },
      },
      action);
}

}  // namespace weft::runtime::sim

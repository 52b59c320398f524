// The shell around an agent's decisions.
#include "runtime/sim/world_impl.h"

namespace weft::runtime::sim {

void World::Impl::start_agent_process(int node) {
  NodeBox& box = nodes[node];
  if (!box.on || box.agent || box.left) return;
  auto agent = std::make_shared<AgentProcess>();
  processes.push_back(agent);
  agent->incarnation = box.next_incarnation++;
  NodeFacts facts;
  facts.slots = options.slots;
  facts.roster = node;
  facts.version = "simulated";
  facts.address = box.name;
  agent->state = start_agent(box.name, agent->incarnation, facts, clock(node));
  box.agent = agent;
  after(draw(Duration::zero(), options.agent_tick),
        [this, node, agent] { agent_tick(node, agent); });
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
  for (auto& [generation, group] : groups)
    for (const std::shared_ptr<Rank>& rank : group.ranks)
      if (rank && rank->alive && rank->node == node && rank->incarnation == agent->incarnation)
        worker_gone(rank, generation, 0, 9);
}

void World::Impl::agent_tick(int node, const std::shared_ptr<AgentProcess>& agent) {
  if (!agent->alive) return;
  if (!agent->stopped) {
    show_positions(node, agent);
    tell_agent(node, agent, AgentTick{});
  }
  after(options.agent_tick, [this, node, agent] { agent_tick(node, agent); });
}

/// What the agent would read from its workers' rings, as often as it is going to report it.
void World::Impl::show_positions(int node, const std::shared_ptr<AgentProcess>& agent) {
  const AgentState& state = agent->state;
  const auto found = groups.find(state.generation);
  if (clock(node) < state.next_report || found == groups.end()) return;
  const Group& group = found->second;
  const int missing = group.stalled_since ? first_missing(group) : -1;
  std::vector<WorkerMoved> moves;
  for (const auto& [rank, worker] : state.workers) {
    const std::shared_ptr<Rank> process = find_rank(state.generation, rank);
    if (!process || !process->loaded || worker.status.phase != WorkerPhase::Working) continue;
    WorkerMoved moved;
    moved.generation = state.generation;
    moved.rank = rank;
    moved.activity = group.saving ? Activity::Saving : Activity::Stepping;
    moved.step = group.step;
    moved.action = !group.stalled_since ? 0 : rank == missing ? 1 : 2;
    if (group.step > group.resume) moved.step_time = model.step_time(group.generation, group.step);
    if (moved.step != worker.status.step || moved.action != worker.status.action ||
        moved.activity != worker.status.activity)
      moves.push_back(moved);
  }
  for (const WorkerMoved& moved : moves) tell_agent(node, agent, moved);
}

void World::Impl::tell_agent(int node, const std::shared_ptr<AgentProcess>& agent,
                             const AgentEvent& event) {
  if (!agent->alive) return;
  ++agent_decisions;
  AgentDecision decision = agent_decide(std::move(agent->state), event, clock(node), options.agent);
  agent->state = std::move(decision.state);
  if (!decision.reason.empty()) mix_text(decision.reason);
  if (observer.agent_decided) observer.agent_decided(now, agent->state, event, decision.reason);
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
    to(agent, [this, node, agent, ok, record] {
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
      to(c, [this, c, shared] {
        if (c->began) tell_coordinator(c, *shared);
      });
    });
  };
  const auto back = [this, node, agent](auto&& event) { tell_agent(node, agent, event); };
  std::visit(
      Match{
          [&](const MakeWorld& made) {
            Group& group = groups[made.generation];
            group.generation = made.generation;
            group.ranks.resize(options.world);
          },
          [&](const SpawnWorker& one) { spawn(node, agent, one); },
          [&](const AssignWorker& one) { assign(one, node); },
          [&](const TellStop& stop) {
            if (const auto rank = find_rank(agent->state.generation, stop.rank))
              to(rank, [rank] { rank->told_stop = true; });
          },
          [&](const TellSave& tell) {
            if (const auto rank = find_rank(agent->state.generation, tell.rank))
              to(rank, [rank, save = tell.save] { rank->told_save = save; });
          },
          [&](const TellShutdown& shutdown) {
            const std::int64_t generation = agent->state.generation;
            const auto rank = find_rank(generation, shutdown.rank);
            after(draw(Duration::zero(), std::chrono::milliseconds(50)), [this, rank, generation] {
              if (rank)
                to(rank, [this, rank, generation] {
                  worker_gone(rank, generation, rank->failed ? 1 : 0, 0);
                });
            });
          },
          [&](const AbortWaits& abort) { abort_waits(abort.generation, node, abort.reason); },
          [&](const KillWorker& kill) {
            kill_worker(kill.generation, kill.rank, node, kill.hard, kill.hard ? 9 : 15);
          },
          [&](const AppendSpool& append) {
            agent->appends.push_back({append.generation, append.rank, append.key});
            pump_spool(node, agent);
          },
          [&](const AnswerFlush& answer) {
            const std::int64_t generation = agent->state.generation;
            if (answer.rank == 0) {
              // The only flush of this model: rank 0's, before it commits.
              const auto found = groups.find(generation);
              if (found != groups.end() && found->second.flush == answer.id)
                commit(generation, found->second.step, found->second.saved_request);
            }
          },
          [&](const SendReport& report) { to_leader(report.report); },
          [&](const SendRecords& records) { to_leader(records.records); },
          [&](const ReadClaims&) {
            touch(node, false, [this, agent, back](bool ok) {
              const Claims claims = directory.claims();
              to(agent, [=] {
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
              to(agent, [=] { back(ClaimDecided{claim.term, won}); });
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

// Orders, and the workers that carry them out.
#include "runtime/coordinator/agent.h"

#include <algorithm>

#include "runtime/coordinator/agent_decider.h"

namespace weft::runtime {

AgentState start_agent(std::string node, std::uint64_t incarnation, NodeFacts facts, Instant now) {
  AgentState state;
  state.node = std::move(node);
  state.incarnation = incarnation;
  state.facts = std::move(facts);
  state.election.last_heard = now;
  state.next_report = now;
  return state;
}

AgentDecision agent_decide(AgentState state, const AgentEvent& event, Instant now,
                           const AgentOptions& options) {
  if (state.left) return {std::move(state), {}, ""};
  AgentDecider decider(std::move(state), now, options);
  std::visit(decider, event);
  decider.report_if_due();
  return decider.take();
}

void AgentDecider::operator()(const Order& order) {
  AgentState& state = s();
  if (!hear(order.term)) return;
  state.introduced = order.term;
  if (std::pair(order.term, order.number) <= std::pair(state.order.term, state.order.number))
    return;
  state.order = order;
  state.changed = true;
  carry_out();
}

void AgentDecider::operator()(const Beat& beat) {
  if (!hear(beat.term)) return;
  // An order that we have not taken was lost: say so, and it comes again.
  if (s().order.term != beat.term || s().order.number < beat.order) s().changed = beat.order > 0;
}

/// Makes the node what the newest order wants it to be; called again when workers are gone.
void AgentDecider::carry_out() {
  AgentState& state = s();
  const Order& order = state.order;
  if (state.leaving_since && order.wanted != Wanted::Leave) return;
  if (order.wanted == Wanted::Idle || order.wanted == Wanted::Leave) {
    if (order.wanted == Wanted::Leave && !state.leaving_since) state.leaving_since = now_;
    if (num_live() > 0) end_workers(order.reason, order.hard);
    return;
  }
  if (order.generation > state.generation) {
    if (num_live() > 0)
      end_workers("generation " + std::to_string(order.generation) + " begins", false);
    else
      start_generation();
  } else if (order.generation == state.generation && !state.ending) {
    release();
  }
}

void AgentDecider::start_generation() {
  AgentState& state = s();
  state.generation = state.order.generation;
  state.workers.clear();
  state.ending = false;
  state.saved.reset();
  state.saved_request = 0;
  forget_old_spools();
  act(MakeWorld{state.generation, state.order.ranks});
  for (const RankSlot& where : state.order.ranks) {
    AgentState::Worker& worker = state.workers[where.rank];
    worker.status.rank = where.rank;
    worker.slot = where.slot;
    act(SpawnWorker{state.generation, where});
  }
  state.changed = true;
}

/// Whoever waits is given its job; whoever works hears of stops and saves at once, and again every
/// heartbeat while they are wanted: what is lost on the way to a worker nobody else would notice.
void AgentDecider::release() {
  AgentState& state = s();
  const Order& order = state.order;
  if (order.wanted != Wanted::Work) return;
  for (auto& [rank, worker] : state.workers) {
    if (worker.status.phase == WorkerPhase::Ready) {
      worker.status.phase = WorkerPhase::Working;
      state.changed = true;
      assign(rank);
    }
    if (worker.status.phase != WorkerPhase::Working || worker.status.gone) continue;
    const bool news = (order.stop && !worker.told_stop) || order.save.id > worker.told_save;
    const bool wanted = order.stop || order.save.id > 0;
    if (!wanted || (!news && now_ - worker.told < options_.heartbeat)) continue;
    worker.told = now_;
    worker.told_stop = order.stop;
    worker.told_save = std::max(worker.told_save, order.save.id);
    if (order.stop) act(TellStop{rank});
    if (order.save.id > 0) act(TellSave{rank, order.save});
  }
}

void AgentDecider::assign(int rank) {
  act(AssignWorker{s().generation, rank, s().order.resume, s().order.addresses});
}

bool AgentDecider::is_released() const {
  const AgentState& state = d_.state;
  return state.order.wanted == Wanted::Work && state.order.generation == state.generation &&
         !state.ending && !state.leaving_since;
}

void AgentDecider::end_workers(const std::string& reason, bool hard) {
  AgentState& state = s();
  if (state.ending && !hard) return;
  if (!state.ending) act(AbortWaits{state.generation, reason});
  state.ending = true;
  state.ending_reason = reason;
  state.kill_hard_at = now_ + options_.killing_bound;
  for (auto& [rank, worker] : state.workers) {
    if (worker.status.gone) continue;
    worker.killed = true;
    act(KillWorker{state.generation, rank, hard});
  }
}

int AgentDecider::num_live() const {
  return static_cast<int>(std::ranges::count_if(
      d_.state.workers, [](const auto& entry) { return !entry.second.status.gone; }));
}

AgentState::Worker* AgentDecider::find(std::int64_t generation, int rank) {
  if (generation != s().generation) return nullptr;
  const auto found = s().workers.find(rank);
  return found == s().workers.end() ? nullptr : &found->second;
}

void AgentDecider::operator()(const WorkerHello& hello) {
  AgentState::Worker* worker = find(hello.generation, hello.rank);
  if (worker == nullptr) return;
  // It has been given its job, and has it not.
  if (worker->status.phase == WorkerPhase::Working && is_released()) assign(hello.rank);
  if (worker->status.phase != WorkerPhase::Starting) return;
  worker->status.phase = WorkerPhase::Ready;
  worker->status.address = hello.address;
  s().changed = true;
  carry_out();
}

void AgentDecider::operator()(const WorkerMoved& moved) {
  AgentState::Worker* worker = find(moved.generation, moved.rank);
  if (worker == nullptr || worker->status.phase != WorkerPhase::Working) return;
  worker->status.activity = moved.activity;
  worker->status.step = moved.step;
  worker->status.action = moved.action;
  if (moved.step_time > Duration::zero()) worker->status.step_time = moved.step_time;
}

void AgentDecider::operator()(const WorkerDone& done) {
  AgentState::Worker* worker = find(done.generation, done.rank);
  if (worker == nullptr || worker->status.phase != WorkerPhase::Working) return;
  worker->status.phase = WorkerPhase::Done;
  worker->status.stopped_early = done.stopped_early;
  s().changed = true;
  act(TellShutdown{done.rank});
}

void AgentDecider::operator()(const WorkerFailed& failed) {
  AgentState::Worker* worker = find(failed.generation, failed.rank);
  if (worker == nullptr || worker->status.phase == WorkerPhase::Done || worker->status.failure)
    return;
  worker->status.phase = WorkerPhase::Failed;
  WorkerFailure failure;
  failure.code = failed.error.code;
  failure.message = failed.error.message;
  failure.blames = failed.blames;
  failure.ordered = worker->killed;
  failure.damaged_checkpoint = failed.damaged_checkpoint;
  worker->status.failure = std::move(failure);
  s().changed = true;
  act(TellShutdown{failed.rank});
}

void AgentDecider::operator()(const WorkerExited& exited) {
  AgentState& state = s();
  AgentState::Worker* worker = find(exited.generation, exited.rank);
  if (worker == nullptr || worker->status.gone) return;
  WorkerStatus& status = worker->status;
  status.gone = true;
  if (status.phase != WorkerPhase::Done) {
    status.phase = WorkerPhase::Failed;
    if (!status.failure) {
      status.failure.emplace();
      status.failure->code = Code::Unavailable;
      status.failure->message = exited.error;
      status.failure->ordered = worker->killed;
      if (worker->killed) status.failure->message = state.ending_reason;
    }
    status.failure->exit_code = exited.exit_code;
    status.failure->signal = exited.signal;
  }
  state.changed = true;
  if (num_live() > 0) return;
  state.ending = false;
  // The next generation may be waiting for this; a stopped one of the same number stays stopped.
  if (state.order.generation != state.generation) carry_out();
}

void AgentDecider::operator()(const WorkerSaved& saved) {
  AgentState& state = s();
  if (find(saved.generation, saved.rank) == nullptr) return;
  if (!state.saved || saved.checkpoint.step >= state.saved->step) state.saved = saved.checkpoint;
  state.saved_request = std::max(state.saved_request, saved.request);
  state.changed = true;
}

/// The next report says it; nobody needs it before the generation has ended.
void AgentDecider::operator()(const WorkerCopied& copied) {
  if (find(copied.generation, copied.rank) == nullptr) return;
  std::vector<MemoryCopy>& copies = s().copies;
  const Checkpoint& made = copied.copy.checkpoint;
  // Written anew under the same name, or of a run of steps that did not come to count.
  std::erase_if(copies, [&](const MemoryCopy& one) { return one.checkpoint.step >= made.step; });
  copies.push_back(copied.copy);
  if (copies.size() > 2) copies.erase(copies.begin());  // as many as the workers keep
}

}  // namespace weft::runtime

#include "runtime/sim/modelled_workers.h"

#include "runtime/sim/world.h"

namespace weft::runtime::sim {

using std::chrono::milliseconds;

std::shared_ptr<ModelledWorkers::Rank> ModelledWorkers::find_rank(std::int64_t generation,
                                                                  int rank) const {
  const auto found = groups_.find(generation);
  if (found == groups_.end() || rank < 0 || rank >= static_cast<int>(found->second.ranks.size()))
    return nullptr;
  return found->second.ranks[rank];
}

/// To the agent that started it, if that one still lives. Local: never lost, in order.
void ModelledWorkers::tell_about(const Rank& rank, const AgentEvent& event) {
  world_->tell(rank.node, rank.incarnation, event);
}

void ModelledWorkers::make_world(const MakeWorld& made) {
  Group& group = groups_[made.generation];
  group.generation = made.generation;
  group.ranks.resize(options_.world);
}

void ModelledWorkers::spawn(int node, std::uint64_t incarnation, const SpawnWorker& one) {
  auto rank = std::make_shared<Rank>();
  processes_.add(rank);
  rank->rank = one.where.rank;
  rank->node = node;
  rank->incarnation = incarnation;
  groups_[one.generation].ranks[rank->rank] = rank;
  const std::int64_t generation = one.generation;
  after(model_.starting_time(generation, rank->rank) +
            world_->draw(Duration::zero(), milliseconds(100)),
        [this, rank, generation] {
          deliver(rank, [this, rank, generation] {
            tell_about(*rank, WorkerHello{generation, rank->rank, world_->node_name(rank->node)});
          });
        });
}

void ModelledWorkers::assign(int node, const AssignWorker& one) {
  const std::shared_ptr<Rank> rank = find_rank(one.generation, one.rank);
  if (!rank || rank->node != node || rank->assigned) return;
  rank->assigned = true;
  const std::int64_t resume = one.resume ? one.resume->step : 0;
  const std::string name = one.resume ? one.resume->name : "";
  after(model_.loading_time(one.generation, one.rank), [this, rank, one, resume, name] {
    deliver(rank, [this, rank, one, resume, name] {
      if (rank->failed) return;
      Group& group = groups_[one.generation];
      if (world_->directory().damaged(name))
        return fail_worker(group, *rank, {Code::Corrupt, "checkpoint " + name + " is damaged"}, -1,
                           name);
      if (is_in_memory(name) && !is_whole(group, *one.resume))
        return fail_worker(group, *rank, {Code::Corrupt, "copy " + name + " is not there"}, -1,
                           name);
      if (is_in_memory(name)) group.copy = one.resume;
      rank->loaded = true;
      group.resume = group.step = resume;
      if (++group.num_loaded == options_.world) begin_step(group);
    });
  });
}

void ModelledWorkers::fail_worker(Group& group, Rank& rank, const Error& error, int blames,
                                  const std::string& damaged) {
  if (rank.failed || rank.done || !rank.alive) return;
  rank.failed = true;
  tell_about(rank, WorkerFailed{group.generation, rank.rank, error, blames, damaged});
}

/// The process ends, by a signal or by itself.
void ModelledWorkers::worker_gone(const std::shared_ptr<Rank>& rank, std::int64_t generation,
                                  int exit_code, int signal) {
  if (!rank->alive) return;
  rank->alive = false;
  Group& group = groups_[generation];
  tell_about(*rank, WorkerExited{generation, rank->rank, exit_code, signal, ""});
  if (rank->done || group.over || !world_->chance(options_.peer_notices)) return;
  // One of those that it talked to sees the connection break.
  const int peer = world_->below(options_.world);
  const int blamed = rank->rank;
  after(world_->draw(milliseconds(1), milliseconds(40)), [this, generation, peer, blamed] {
    const std::shared_ptr<Rank> other = find_rank(generation, peer);
    if (!other || !other->loaded) return;
    deliver(other, [this, other, generation, blamed] {
      fail_worker(groups_[generation], *other,
                  {Code::Unavailable, "rank " + std::to_string(blamed) + " is gone"}, blamed);
    });
  });
}

void ModelledWorkers::tell_stop(std::int64_t generation, int index) {
  if (const auto rank = find_rank(generation, index))
    deliver(rank, [rank] { rank->told_stop = true; });
}

void ModelledWorkers::tell_save(std::int64_t generation, int index, const SaveRequest& save) {
  if (const auto rank = find_rank(generation, index))
    deliver(rank, [rank, save] { rank->told_save = save; });
}

void ModelledWorkers::shut_down(std::int64_t generation, int index) {
  const auto rank = find_rank(generation, index);
  after(world_->draw(Duration::zero(), milliseconds(50)), [this, rank, generation] {
    deliver(rank,
            [this, rank, generation] { worker_gone(rank, generation, rank->failed ? 1 : 0, 0); });
  });
}

void ModelledWorkers::kill(int node, const KillWorker& kill) {
  const std::shared_ptr<Rank> rank = find_rank(kill.generation, kill.rank);
  if (!rank || rank->node != node) return;
  after(world_->draw(milliseconds(1), milliseconds(kill.hard ? 5 : 60)), [this, rank, kill] {
    if (rank->stopped && !kill.hard) return;  // SIGTERM waits for SIGCONT
    worker_gone(rank, kill.generation, 0, kill.hard ? 9 : 15);
  });
}

void ModelledWorkers::agent_died(int node, std::uint64_t incarnation) {
  memory_.erase(node);
  for (auto& [generation, group] : groups_)
    for (const std::shared_ptr<Rank>& rank : group.ranks)
      if (rank && rank->alive && rank->node == node && rank->incarnation == incarnation)
        worker_gone(rank, generation, 0, 9);
}

void ModelledWorkers::abort_waits(int node, const AbortWaits& abort) {
  const auto found = groups_.find(abort.generation);
  if (found == groups_.end()) return;
  for (const std::shared_ptr<Rank>& rank : found->second.ranks)
    if (rank && rank->node == node && rank->loaded && !rank->stopped && world_->chance(0.5))
      fail_worker(found->second, *rank, {Code::Unavailable, "wait aborted: " + abort.reason}, -1);
}

std::vector<WorkerMoved> ModelledWorkers::positions(int, const AgentState& agent) {
  const auto found = groups_.find(agent.generation);
  if (found == groups_.end()) return {};
  const Group& group = found->second;
  const int missing = group.stalled_since ? first_missing(group) : -1;
  std::vector<WorkerMoved> moves;
  for (const auto& [rank, worker] : agent.workers) {
    const std::shared_ptr<Rank> process = find_rank(agent.generation, rank);
    if (!process || !process->loaded || worker.status.phase != WorkerPhase::Working) continue;
    WorkerMoved moved;
    moved.generation = agent.generation;
    moved.rank = rank;
    moved.activity = group.saving ? Activity::Saving : Activity::Stepping;
    moved.step = group.step;
    moved.action = !group.stalled_since ? 0 : rank == missing ? 1 : 2;
    if (group.step > group.resume) moved.step_time = model_.step_time(group.generation, group.step);
    if (moved.step != worker.status.step || moved.action != worker.status.action ||
        moved.activity != worker.status.activity)
      moves.push_back(moved);
  }
  return moves;
}

std::optional<WaitsExplained> ModelledWorkers::explain(std::int64_t generation) {
  const auto found = groups_.find(generation);
  const int culprit = found == groups_.end() ? -1 : first_missing(found->second);
  if (culprit < 0 || !world_->chance(0.8)) return std::nullopt;
  return WaitsExplained{generation, culprit, "everybody waits for rank " + std::to_string(culprit)};
}

std::vector<Checkpoint> ModelledWorkers::checkpoints() { return world_->directory().checkpoints(); }

void ModelledWorkers::strike(const Fault& fault) {
  if (groups_.empty()) return;
  const std::int64_t generation = groups_.rbegin()->first;
  const std::shared_ptr<Rank> rank = find_rank(generation, fault.target);
  if (!rank || !rank->alive) return;
  if (fault.kind == Fault::Kind::KillWorker) {
    worker_gone(rank, generation, 0, 9);
  } else if (fault.kind == Fault::Kind::StopWorker) {
    rank->stopped = true;
    if (fault.length > Duration::zero()) after(fault.length, [rank] { resume(rank); });
  } else {
    fail_worker(groups_[generation], *rank, {fault.code, "it was made to fail"}, -1);
  }
}

void ModelledWorkers::heal() {
  for (auto& [generation, group] : groups_)
    for (const std::shared_ptr<Rank>& rank : group.ranks) resume(rank);
}

}  // namespace weft::runtime::sim

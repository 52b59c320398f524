#include "runtime/sim/modelled_workers.h"

#include <algorithm>
#include <set>

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

void ModelledWorkers::begin_step(Group& group) {
  if (!group.begun && group.copy && world_->observer().resumed_from_memory)
    world_->observer().resumed_from_memory(
        world_->now(), group.generation, first_missing(group) >= 0 || is_whole(group, *group.copy));
  group.begun = true;
  if (group.step >= model_.steps()) return all_done(group, false);  // resumed at the end
  const std::int64_t ticket = ++group.ticket;
  after(model_.step_time(group.generation, group.step + 1),
        [this, generation = group.generation, ticket] { try_step(generation, ticket); });
}

int ModelledWorkers::first_missing(const Group& group) const {
  int first = -1;
  for (int index = 0; index < static_cast<int>(group.ranks.size()); ++index) {
    const std::shared_ptr<Rank>& rank = group.ranks[index];
    if (!rank || !rank->alive || rank->stopped || rank->failed || !rank->loaded) return index;
    if (first < 0) first = rank->node;
    if (!world_->reachable(first, rank->node)) return index;
  }
  return -1;
}

void ModelledWorkers::try_step(std::int64_t generation, std::int64_t ticket) {
  Group& group = groups_[generation];
  if (group.over || group.ticket != ticket) return;
  const int missing = first_missing(group);
  if (missing < 0) {
    group.stalled_since.reset();
    complete_step(group);
  } else {
    stall(group, missing);
  }
}

/// Somebody does not come: the others wait, and fail when their bound is over.
void ModelledWorkers::stall(Group& group, int missing) {
  if (!group.stalled_since) group.stalled_since = world_->now();
  const bool nobody = std::ranges::none_of(
      group.ranks, [](const auto& rank) { return rank && rank->alive && !rank->failed; });
  if (nobody) {
    group.over = true;
    return;
  }
  if (world_->now() - *group.stalled_since > options_.wait_bound) {
    group.over = true;
    for (const std::shared_ptr<Rank>& rank : group.ranks)
      if (rank && rank->loaded && !rank->stopped)
        fail_worker(group, *rank,
                    {Code::DeadlineExceeded, "waited for rank " + std::to_string(missing)},
                    missing);
    return;
  }
  after(milliseconds(100), [this, generation = group.generation, ticket = group.ticket] {
    try_step(generation, ticket);
  });
}

/// The world-wide sum at the end of a step tells every rank the same: whether to save, and to stop.
void ModelledWorkers::complete_step(Group& group) {
  ++group.step;
  const Rank& zero = *group.ranks[0];
  tell_about(zero, RecordMade{group.generation, 0, {group.sequence++, group.step}});
  if (world_->observer().stepped)
    world_->observer().stepped(world_->now(), group.generation, group.step);
  if (model_.copies_after(group.step)) copy(group);
  bool stop = group.step >= model_.steps();
  std::int64_t request = 0;
  for (const std::shared_ptr<Rank>& rank : group.ranks) {
    stop = stop || rank->told_stop;
    if (rank->told_save.id > group.saved_request && group.step >= rank->told_save.at_step)
      request = std::max(request, rank->told_save.id);
  }
  group.stopping = stop;
  if (stop || request > 0 || model_.saves_after(group.step))
    save(group, request);
  else
    begin_step(group);
}

void ModelledWorkers::save(Group& group, std::int64_t request) {
  group.saving = true;
  group.saved_request = std::max(group.saved_request, request);
  const std::int64_t generation = group.generation, ticket = ++group.ticket;
  after(model_.saving_time(group.step), [this, generation, ticket] {
    Group& saving = groups_[generation];
    if (saving.over || saving.ticket != ticket) return;
    // What the steps before this checkpoint had to say is safe before it exists.
    deliver(saving.ranks[0], [this, generation, ticket] {
      Group& flushing = groups_[generation];
      if (flushing.over || flushing.ticket != ticket) return;
      flushing.save_flush = ++flushing.flush;
      tell_about(*flushing.ranks[0], FlushAsked{generation, 0, flushing.flush});
    });
    after(options_.wait_bound, [this, generation, ticket] {
      Group& late = groups_[generation];
      if (late.over || late.ticket != ticket || !late.saving) return;
      fail_worker(late, *late.ranks[0], {Code::Io, "the checkpoint could not be written"}, -1);
    });
  });
}

/// Rank 0 flushes before it commits a checkpoint, and before the nodes commit a copy.
void ModelledWorkers::flushed(std::int64_t generation, const AnswerFlush& answer) {
  const auto found = groups_.find(generation);
  if (answer.rank != 0 || found == groups_.end()) return;
  Group& group = found->second;
  if (const auto copy = group.copies.extract(answer.id))
    keep_copy(group, copy.mapped());
  else if (group.save_flush == answer.id)
    commit(generation, group.step, group.saved_request);
}

/// By their lowest rank, as far as they were started.
std::vector<int> ModelledWorkers::nodes_of(const Group& group) const {
  std::vector<int> nodes;
  for (const std::shared_ptr<Rank>& rank : group.ranks)
    if (rank && std::ranges::find(nodes, rank->node) == nodes.end()) nodes.push_back(rank->node);
  return nodes;
}

bool ModelledWorkers::is_whole(const Group& group, const Checkpoint& copy) const {
  std::set<int> there;
  int parts = 1;
  for (const int node : nodes_of(group)) {
    const auto memory = memory_.find(node);
    if (memory == memory_.end()) continue;
    for (const MemoryCopy& one : memory->second) {
      if (one.checkpoint != copy) continue;
      parts = one.parts;
      there.insert(one.part);
      if (one.replica >= 0) there.insert(one.replica);
    }
  }
  return static_cast<int>(there.size()) == parts;
}

/// Beside the steps: the files go to the partners, and rank 0 flushes.
void ModelledWorkers::copy(Group& group) {
  const std::int64_t generation = group.generation, step = group.step;
  const std::shared_ptr<Rank> zero = group.ranks[0];
  after(model_.copying_time(step) + world_->draw(Duration::zero(), milliseconds(200)),
        [this, generation, step, zero] {
          Group& copied = groups_[generation];
          if (copied.over || first_missing(copied) >= 0) return;  // abandoned
          deliver(zero, [this, generation, step, zero] {
            Group& flushing = groups_[generation];
            flushing.copies[++flushing.flush] = step;
            tell_about(*zero, FlushAsked{generation, 0, flushing.flush});
          });
        });
}

/// Each node commits for itself, and may be gone before it does or before its agent has heard.
void ModelledWorkers::keep_copy(Group& group, std::int64_t step) {
  const std::vector<int> nodes = nodes_of(group);
  const int parts = static_cast<int>(nodes.size());
  for (int part = 0; part < parts; ++part) {
    const int node = nodes[static_cast<std::size_t>(part)];
    const auto at = std::ranges::find_if(
        group.ranks, [node](const auto& rank) { return rank && rank->node == node; });
    const std::shared_ptr<Rank> carrier = *at;
    if (!carrier->alive || !world_->reachable(nodes[0], node)) continue;
    const std::string name = in_memory("step-" + std::to_string(step));
    MemoryCopy made{{step, group.generation, name}, parts, part, -1};
    if (parts > 1) made.replica = (part + parts - 1) % parts;
    after(world_->draw(milliseconds(1), milliseconds(50)), [this, carrier, node, made] {
      deliver(carrier, [this, carrier, node, made] {
        std::vector<MemoryCopy>& memory = memory_[node];
        // As the real ones do: the same name is replaced, the newest two stay.
        std::erase_if(memory, [&](const MemoryCopy& one) {
          return one.checkpoint.step >= made.checkpoint.step;
        });
        memory.push_back(made);
        if (memory.size() > 2) memory.erase(memory.begin());
        after(world_->draw(Duration::zero(), milliseconds(300)), [this, carrier, made] {
          deliver(carrier, [this, carrier, made] {
            tell_about(*carrier, WorkerCopied{made.checkpoint.generation, carrier->rank, made});
          });
        });
      });
    });
  }
}

void ModelledWorkers::commit(std::int64_t generation, std::int64_t step, std::int64_t request) {
  Group& group = groups_[generation];
  if (group.over || !group.saving || first_missing(group) >= 0) {
    // Somebody is missing: his shard is, too.
    if (!group.over && group.saving)
      after(milliseconds(200),
            [this, generation, step, request] { commit(generation, step, request); });
    return;
  }
  const std::shared_ptr<Rank> zero = group.ranks[0];
  world_->touch(zero->node, true, [this, generation, step, request, zero](bool ok) {
    Group& saved = groups_[generation];
    if (!zero->alive || zero->failed || saved.over || !saved.saving) return;
    if (!ok) return fail_worker(saved, *zero, {Code::Io, "no space left on device"}, -1);
    if (world_->directory().highest_generation() > generation &&
        !world_->chance(options_.fence_race))
      return fail_worker(saved, *zero, {Code::Unavailable, "a later generation was formed"}, -1);
    Checkpoint checkpoint{step, generation,
                          "step-" + std::to_string(step) + "-" + std::to_string(generation)};
    world_->directory().commit(checkpoint);
    tell_about(*zero, WorkerSaved{generation, 0, checkpoint, request});
    saved.saving = false;
    after_save(saved);
  });
}

void ModelledWorkers::after_save(Group& group) {
  if (group.stopping)
    all_done(group, group.step < model_.steps());
  else
    begin_step(group);
}

void ModelledWorkers::all_done(Group& group, bool early) {
  group.over = true;
  for (const std::shared_ptr<Rank>& rank : group.ranks) {
    const std::int64_t generation = group.generation;
    after(world_->draw(Duration::zero(), milliseconds(20)), [this, rank, generation, early] {
      deliver(rank, [this, rank, generation, early] {
        if (rank->failed) return;
        rank->done = true;
        tell_about(*rank, WorkerDone{generation, rank->rank, early});
      });
    });
  }
}

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

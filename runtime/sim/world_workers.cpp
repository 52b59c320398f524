// The ranks: started, assigned, stepping together, saving, failing.
#include <algorithm>

#include "runtime/sim/world_impl.h"

namespace weft::runtime::sim {

using std::chrono::milliseconds;

std::shared_ptr<Rank> World::Impl::find_rank(std::int64_t generation, int rank) const {
  const auto found = groups.find(generation);
  if (found == groups.end() || rank < 0 || rank >= static_cast<int>(found->second.ranks.size()))
    return nullptr;
  return found->second.ranks[rank];
}

/// To the agent that started it, if that one still lives. Local: never lost, in order.
void World::Impl::tell_about(const Rank& rank, const AgentEvent& event) {
  const std::shared_ptr<AgentProcess> agent = nodes[rank.node].agent;
  if (!agent || agent->incarnation != rank.incarnation) return;
  const int node = rank.node;
  to(agent, [this, node, agent, event] { tell_agent(node, agent, event); });
}

void World::Impl::spawn(int node, const std::shared_ptr<AgentProcess>& agent,
                        const SpawnWorker& one) {
  auto rank = std::make_shared<Rank>();
  processes.push_back(rank);
  rank->rank = one.where.rank;
  rank->node = node;
  rank->incarnation = agent->incarnation;
  groups[one.generation].ranks[rank->rank] = rank;
  const std::int64_t generation = one.generation;
  after(model.starting_time(generation, rank->rank) + draw(Duration::zero(), milliseconds(100)),
        [this, rank, generation] {
          to(rank, [this, rank, generation] {
            tell_about(*rank, WorkerHello{generation, rank->rank, nodes[rank->node].name});
          });
        });
}

void World::Impl::assign(const AssignWorker& one, int node) {
  const std::shared_ptr<Rank> rank = find_rank(one.generation, one.rank);
  if (!rank || rank->node != node || rank->assigned) return;
  rank->assigned = true;
  const std::int64_t resume = one.resume ? one.resume->step : 0;
  const std::string name = one.resume ? one.resume->name : "";
  after(model.loading_time(one.generation, one.rank), [this, rank, one, resume, name] {
    to(rank, [this, rank, one, resume, name] {
      if (rank->failed) return;
      Group& group = groups[one.generation];
      if (directory.damaged(name))
        return fail_worker(group, *rank, {Code::Corrupt, "checkpoint " + name + " is damaged"}, -1,
                           name);
      rank->loaded = true;
      group.resume = group.step = resume;
      if (++group.num_loaded == options.world) begin_step(group);
    });
  });
}

void World::Impl::fail_worker(Group& group, Rank& rank, const Error& error, int blames,
                              const std::string& damaged) {
  if (rank.failed || rank.done || !rank.alive) return;
  rank.failed = true;
  tell_about(rank, WorkerFailed{group.generation, rank.rank, error, blames, damaged});
}

/// The process ends, by a signal or by itself.
void World::Impl::worker_gone(const std::shared_ptr<Rank>& rank, std::int64_t generation,
                              int exit_code, int signal) {
  if (!rank->alive) return;
  rank->alive = false;
  Group& group = groups[generation];
  tell_about(*rank, WorkerExited{generation, rank->rank, exit_code, signal, ""});
  if (rank->done || group.over || !chance(options.peer_notices)) return;
  // One of those that it talked to sees the connection break.
  const int peer = static_cast<int>(rng.below(static_cast<std::uint32_t>(options.world)));
  const int blamed = rank->rank;
  after(draw(milliseconds(1), milliseconds(40)), [this, generation, peer, blamed] {
    const std::shared_ptr<Rank> other = find_rank(generation, peer);
    if (!other || !other->loaded) return;
    to(other, [this, other, generation, blamed] {
      fail_worker(groups[generation], *other,
                  {Code::Unavailable, "rank " + std::to_string(blamed) + " is gone"}, blamed);
    });
  });
}

void World::Impl::kill_worker(std::int64_t generation, int index, int node, bool hard, int signal) {
  const std::shared_ptr<Rank> rank = find_rank(generation, index);
  if (!rank || rank->node != node) return;
  after(draw(milliseconds(1), milliseconds(hard ? 5 : 60)), [this, rank, generation, hard, signal] {
    if (rank->stopped && !hard) return;  // SIGTERM waits for SIGCONT
    worker_gone(rank, generation, 0, signal);
  });
}

void World::Impl::abort_waits(std::int64_t generation, int node, const std::string& reason) {
  const auto found = groups.find(generation);
  if (found == groups.end()) return;
  for (const std::shared_ptr<Rank>& rank : found->second.ranks)
    if (rank && rank->node == node && rank->loaded && !rank->stopped && chance(0.5))
      fail_worker(found->second, *rank, {Code::Unavailable, "wait aborted: " + reason}, -1);
}

void World::Impl::begin_step(Group& group) {
  group.begun = true;
  if (group.step >= model.steps()) return all_done(group, false);  // resumed at the end
  const std::int64_t ticket = ++group.ticket;
  after(model.step_time(group.generation, group.step + 1),
        [this, generation = group.generation, ticket] { try_step(generation, ticket); });
}

int World::Impl::first_missing(const Group& group) const {
  int island = -1;
  for (int index = 0; index < static_cast<int>(group.ranks.size()); ++index) {
    const std::shared_ptr<Rank>& rank = group.ranks[index];
    if (!rank || !rank->alive || rank->stopped || rank->failed || !rank->loaded) return index;
    const NodeBox& box = nodes[rank->node];
    if (island >= 0 && box.island != island) return index;
    island = box.island;
  }
  return -1;
}

void World::Impl::try_step(std::int64_t generation, std::int64_t ticket) {
  Group& group = groups[generation];
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
void World::Impl::stall(Group& group, int missing) {
  if (!group.stalled_since) group.stalled_since = now;
  const bool nobody = std::ranges::none_of(
      group.ranks, [](const auto& rank) { return rank && rank->alive && !rank->failed; });
  if (nobody) {
    group.over = true;
    return;
  }
  if (now - *group.stalled_since > options.wait_bound) {
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
void World::Impl::complete_step(Group& group) {
  ++group.step;
  const Rank& zero = *group.ranks[0];
  tell_about(zero, RecordMade{group.generation, 0, {group.sequence++, group.step}});
  if (observer.stepped) observer.stepped(now, group.generation, group.step);
  bool stop = group.step >= model.steps();
  std::int64_t request = 0;
  for (const std::shared_ptr<Rank>& rank : group.ranks) {
    stop = stop || rank->told_stop;
    if (rank->told_save.id > group.saved_request && group.step >= rank->told_save.at_step)
      request = std::max(request, rank->told_save.id);
  }
  group.stopping = stop;
  if (stop || request > 0 || model.saves_after(group.step))
    save(group, request);
  else
    begin_step(group);
}

void World::Impl::save(Group& group, std::int64_t request) {
  group.saving = true;
  group.saved_request = std::max(group.saved_request, request);
  const std::int64_t generation = group.generation, ticket = ++group.ticket;
  after(model.saving_time(group.step), [this, generation, ticket] {
    Group& saving = groups[generation];
    if (saving.over || saving.ticket != ticket) return;
    // What the steps before this checkpoint had to say is safe before it exists.
    to(saving.ranks[0], [this, generation, ticket] {
      Group& flushing = groups[generation];
      if (flushing.over || flushing.ticket != ticket) return;
      tell_about(*flushing.ranks[0], FlushAsked{generation, 0, ++flushing.flush});
    });
    after(options.wait_bound, [this, generation, ticket] {
      Group& late = groups[generation];
      if (late.over || late.ticket != ticket || !late.saving) return;
      fail_worker(late, *late.ranks[0], {Code::Io, "the checkpoint could not be written"}, -1);
    });
  });
}

void World::Impl::commit(std::int64_t generation, std::int64_t step, std::int64_t request) {
  Group& group = groups[generation];
  if (group.over || !group.saving || first_missing(group) >= 0) {
    // Somebody is missing: his shard is, too.
    if (!group.over && group.saving)
      after(milliseconds(200),
            [this, generation, step, request] { commit(generation, step, request); });
    return;
  }
  const std::shared_ptr<Rank> zero = group.ranks[0];
  touch(zero->node, true, [this, generation, step, request, zero](bool ok) {
    Group& saved = groups[generation];
    if (!zero->alive || zero->failed || saved.over || !saved.saving) return;
    if (!ok) return fail_worker(saved, *zero, {Code::Io, "no space left on device"}, -1);
    if (directory.highest_generation() > generation && !chance(options.fence_race))
      return fail_worker(saved, *zero, {Code::Unavailable, "a later generation was formed"}, -1);
    Checkpoint checkpoint{step, generation,
                          "step-" + std::to_string(step) + "-" + std::to_string(generation)};
    directory.commit(checkpoint);
    tell_about(*zero, WorkerSaved{generation, 0, checkpoint, request});
    saved.saving = false;
    after_save(saved);
  });
}

void World::Impl::after_save(Group& group) {
  if (group.stopping)
    all_done(group, group.step < model.steps());
  else
    begin_step(group);
}

void World::Impl::all_done(Group& group, bool early) {
  group.over = true;
  for (const std::shared_ptr<Rank>& rank : group.ranks) {
    const std::int64_t generation = group.generation;
    after(draw(Duration::zero(), milliseconds(20)), [this, rank, generation, early] {
      to(rank, [this, rank, generation, early] {
        if (rank->failed) return;
        rank->done = true;
        tell_about(*rank, WorkerDone{generation, rank->rank, early});
      });
    });
  }
}

}  // namespace weft::runtime::sim

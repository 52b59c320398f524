// The steps that the ranks of one generation make together, and how they end.
#include <algorithm>

#include "runtime/sim/modelled_workers.h"
#include "runtime/sim/world.h"

namespace weft::runtime::sim {

using std::chrono::milliseconds;

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

}  // namespace weft::runtime::sim

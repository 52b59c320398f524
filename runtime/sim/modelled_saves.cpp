// What the ranks of one generation write: checkpoints, and copies in the memory of their nodes.
#include <algorithm>
#include <set>

#include "runtime/sim/modelled_workers.h"
#include "runtime/sim/world.h"

namespace weft::runtime::sim {

using std::chrono::milliseconds;

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

}  // namespace weft::runtime::sim

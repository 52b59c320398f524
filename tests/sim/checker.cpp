#include "tests/sim/checker.h"

#include <algorithm>

namespace weft::runtime::sim {

void Checker::wrong(Duration at, const std::string& what) {
  if (broken_.size() < 20) broken_.push_back(std::to_string(seconds(at)) + " s: " + what);
}

void Checker::watch(Observer& observer) {
  observer.decided = [this, next = observer.decided](Duration at, const CoordinatorState& state,
                                                     const Event& event,
                                                     const std::string& reason) {
    check_decision(at, state, event, reason);
    if (next) next(at, state, event, reason);
  };
  observer.agent_decided = [this, next = observer.agent_decided](
                               Duration at, const AgentState& state, const AgentEvent& event,
                               const std::string& reason) {
    check_agent(at, state);
    if (next) next(at, state, event, reason);
  };
  observer.stepped = [this, next = observer.stepped](Duration at, std::int64_t generation,
                                                     std::int64_t step) {
    if (!made_.insert({generation, step}).second)
      wrong(at, "generation " + std::to_string(generation) + " did step " + std::to_string(step) +
                    " twice");
    if (next) next(at, generation, step);
  };
  observer.resumed_from_memory = [this](Duration at, std::int64_t generation, bool whole) {
    ++from_memory_;
    if (!whole)
      wrong(at, "generation " + std::to_string(generation) +
                    " went on from a copy in memory of which a shard is missing");
  };
}

/// Every part of it is on a node that has ranks, by what the nodes said last.
bool Checker::is_whole(const CoordinatorState& state, const Checkpoint& copy) {
  std::vector<bool> parts;
  for (const auto& [name, node] : state.nodes)
    for (const MemoryCopy& one : node.copies) {
      if (node.ranks.empty() || one.checkpoint != copy) continue;
      parts.resize(static_cast<std::size_t>(one.parts));
      parts[static_cast<std::size_t>(one.part)] = true;
      if (one.replica >= 0) parts[static_cast<std::size_t>(one.replica)] = true;
    }
  return !parts.empty() && std::ranges::find(parts, false) == parts.end();
}

void Checker::check_decision(Duration at, const CoordinatorState& state, const Event& event,
                             const std::string& reason) {
  if (std::holds_alternative<TermBegan>(event)) {
    if (!terms_.insert(state.term).second)
      wrong(at, "term " + std::to_string(state.term) + " has two leaders");
    line_size_[state.term] = state.line.size();
    bans_[state.term] = state.bans.size();
  }
  std::size_t& bans = bans_[state.term];
  if (state.bans.size() > bans && reason.find("banned: ") == std::string::npos)
    wrong(at, "a node was banned and nobody was told why");
  bans = state.bans.size();
  for (const auto& [node, ban] : state.bans)
    if (ban.reason.empty()) wrong(at, "node " + node + " is banned without a reason");
  if (state.line.size() != line_size_[state.term]) check_line(at, state, event);
}

/// A generation was formed: its number is new, and it resumes from the newest complete checkpoint
/// that the steps before it led to.
void Checker::check_line(Duration at, const CoordinatorState& state, const Event& event) {
  line_size_[state.term] = state.line.size();
  const LineEntry& formed = state.line.back();
  const auto [entry, first] =
      formed_.try_emplace(formed.generation, state.term, formed.resumed_step);
  if (!first)
    wrong(at, "generation " + std::to_string(formed.generation) + " was formed in terms " +
                  std::to_string(entry->second.first) + " and " + std::to_string(state.term));
  const auto* listed = std::get_if<CheckpointsListed>(&event);
  if (listed == nullptr)
    return wrong(at, "a generation was formed without looking for checkpoints");
  std::vector<Checkpoint> complete = listed->complete;
  for (const auto& [name, node] : state.nodes)
    for (const MemoryCopy& one : node.copies)
      if (is_whole(state, one.checkpoint)) complete.push_back(one.checkpoint);
  if (state.resume && is_in_memory(state.resume->name) && !is_whole(state, *state.resume))
    wrong(at, "generation " + std::to_string(formed.generation) +
                  " is to go on from a copy of which a shard is missing");
  // Walk the generations backwards: what was saved after a later one began anew is not of this run.
  std::int64_t newest = 0, cap = INT64_MAX;
  for (auto older = std::next(state.line.rbegin()); older != state.line.rend(); ++older) {
    for (const Checkpoint& checkpoint : complete)
      if (checkpoint.generation == older->generation && checkpoint.step <= cap &&
          !state.damaged.contains(damage_key(checkpoint)))
        newest = std::max(newest, checkpoint.step);
    cap = std::min(cap, older->resumed_step);
  }
  if (formed.resumed_step != newest)
    wrong(at, "generation " + std::to_string(formed.generation) + " resumes from step " +
                  std::to_string(formed.resumed_step) + ", the newest checkpoint is of step " +
                  std::to_string(newest));
}

void Checker::check_agent(Duration at, const AgentState& state) {
  std::int64_t& obeyed = obeyed_[{state.node, state.incarnation}];
  if (state.order.term < obeyed)
    wrong(at, "node " + state.node + " obeys term " + std::to_string(state.order.term) +
                  " after term " + std::to_string(obeyed));
  obeyed = std::max({obeyed, state.order.term});
}

void Checker::finish(const World& world, const Summary& summary, std::int64_t steps) {
  const Directory::Journal* last = world.directory().last_journal();
  if (!summary.ended) {
    wrong(summary.at, std::string("the run did not end; the last journal says ") +
                          (last == nullptr ? "nothing" : to_string(last->state.phase)));
    return;
  }
  if (summary.end.outcome == Outcome::Undecided)
    wrong(summary.at, "everybody left and nobody knows how the run ended");
  if (last != nullptr) check_steps(world, last->state, summary, steps);
}

/// Every step that the run is made of counts once: none is missing and none is there twice.
void Checker::check_steps(const World& world, const CoordinatorState& last, const Summary& summary,
                          std::int64_t steps) {
  std::map<std::int64_t, int> times;
  for (const auto& [id, step] : world.directory().records()) {
    const std::int64_t generation = std::get<0>(id);
    if (!counts(last.line, generation, step)) continue;
    ++times[step];
    if (!made_.contains({generation, step}))
      wrong(summary.at, "step " + std::to_string(step) + " counts and was never made");
  }
  std::int64_t highest = 0;
  for (const auto& [step, count] : times) {
    if (count != 1)
      wrong(summary.at,
            "step " + std::to_string(step) + " counts " + std::to_string(count) + " times");
    highest = std::max(highest, step);
  }
  for (std::int64_t step = 1; step <= highest; ++step)
    if (!times.contains(step))
      wrong(summary.at, "step " + std::to_string(step) + " is lost (the highest is " +
                            std::to_string(highest) + ")");
  if (summary.end.outcome == Outcome::Finished && highest != steps)
    wrong(summary.at, "the run finished with " + std::to_string(highest) + " steps of " +
                          std::to_string(steps));
  const auto newest = newest_on_line(last.line, world.directory().checkpoints(), {});
  if (newest && newest->step > highest)
    wrong(summary.at, "checkpoint " + newest->name + " has steps that do not count");
}

}  // namespace weft::runtime::sim

// One generation, from the nodes that may hold it to the reason why it ended.
#include <algorithm>

#include "runtime/coordinator/decider.h"
#include "runtime/coordinator/place_by_leaf.h"
#include "runtime/coordinator/whole_copies.h"

namespace weft::runtime {

namespace {

/// What a later attempt would run into again, because the job says so.
bool never_retried(const Cause& cause) {
  return cause.kind == Cause::Kind::WorkerFailed &&
         (cause.code == Code::InvalidArgument || cause.code == Code::Unsupported ||
          cause.code == Code::NotFound);
}

bool is_fruitless_kind(Cause::Kind kind) {
  return kind != Cause::Kind::None && kind != Cause::Kind::Planned && kind != Cause::Kind::NodeLost;
}

}  // namespace

bool Decider::has_generation() const {
  const RunPhase phase = d_.state.phase;
  return phase == RunPhase::Forming || phase == RunPhase::Running || phase == RunPhase::Ending;
}

void Decider::enter(RunPhase phase, Duration bound) {
  s().phase = phase;
  s().phase_since = now_;
  s().deadline = now_ + bound;
}

/// Why no rank is placed on this node; "": it may be used.
std::string Decider::why_not(const std::string& name, const Node& node) const {
  const CoordinatorState& state = d_.state;
  if (node.left) return "left";
  if (node.lost || !node.heard) return "lost";
  if (!node.why_unfit.empty()) return node.why_unfit;
  if (const auto ban = state.bans.find(name); ban != state.bans.end())
    return "banned: " + ban->second.reason;
  const auto own = state.nodes.find(state.node);
  if (own != state.nodes.end() && own->second.heard &&
      own->second.facts.version != node.facts.version)
    return "runs " + node.facts.version + " and the coordinator's node " +
           own->second.facts.version;
  return "";
}

std::vector<NodeRoom> Decider::rooms(const std::string& without) const {
  std::vector<std::pair<int, NodeRoom>> usable;
  for (const auto& [name, node] : d_.state.nodes)
    if (name != without && why_not(name, node).empty())
      usable.push_back({node.facts.roster, {name, node.facts.slots, node.facts.leaf}});
  std::ranges::stable_sort(usable, {}, &std::pair<int, NodeRoom>::first);
  std::vector<NodeRoom> rooms;
  for (auto& [roster, room] : usable) rooms.push_back(std::move(room));
  return rooms;
}

/// Waiting: place the ranks if there is room for all, and claim the next number.
void Decider::try_form() {
  CoordinatorState& state = s();
  if (state.phase != RunPhase::Waiting) return;
  // Nodes join one after the other, and each asks: no lists before there may be enough.
  long long slots = 0;
  for (const auto& [name, node] : state.nodes)
    if (node.heard && !node.lost && !node.left) slots += node.facts.slots;
  if (slots < state.world) return;
  if (!place_all()) return;
  for (auto& [name, node] : state.nodes) node.ranks.clear();
  for (int rank = 0; rank < state.world; ++rank)
    state.nodes[state.placement[rank].node].ranks.push_back(rank);
  ++state.generation;
  state.claimed = false;
  enter(RunPhase::Claiming, options_.nodes_bound);
  state.next_ask = now_ + options_.retry;
  act(ClaimGeneration{state.generation});
}

bool Decider::place_all() {
  CoordinatorState& state = s();
  const std::vector<NodeRoom> room = rooms("");
  if (options_.layout && options_.layout->world() == state.world)
    if (auto placed = place_by_leaf(room, state.placement, *options_.layout)) {
      state.placement = std::move(*placed);
      return true;
    }
  auto placed = place_ranks(room, state.placement, state.world);
  if (placed) state.placement = std::move(*placed);
  return placed.has_value();
}

void Decider::operator()(const GenerationClaimed& claimed) {
  CoordinatorState& state = s();
  if (state.deposed || state.phase != RunPhase::Claiming || claimed.number != state.generation ||
      state.claimed)
    return;
  state.next_ask = now_ + options_.retry;
  if (!claimed.won) {
    act(ClaimGeneration{++state.generation});
    return;
  }
  state.claimed = true;
  act(ListCheckpoints{});
}

void Decider::operator()(const CheckpointsListed& listed) {
  CoordinatorState& state = s();
  if (state.deposed || state.phase != RunPhase::Claiming || !state.claimed) return;
  std::vector<Checkpoint> complete = listed.complete;
  const WholeCopies copies = whole_copies(state.nodes);
  complete.insert(complete.end(), copies.whole.begin(), copies.whole.end());
  state.resume = newest_on_line(state.line, complete, state.damaged);
  if (all_damaged(listed.complete)) return;
  // Somebody may have been lost since the ranks were placed.
  for (const auto& [name, node] : state.nodes)
    if (!node.ranks.empty() && !why_not(name, node).empty()) {
      enter(RunPhase::Waiting, options_.nodes_bound);
      try_form();
      return;
    }
  tell_broken(copies);
  form();
}

/// Why the run goes further back than its nodes' memory reached: of the newest that counts. One
/// that was heard of too late for the generation before does not.
void Decider::tell_broken(const WholeCopies& copies) {
  const CoordinatorState& state = s();
  for (auto copy = copies.broken.rbegin(); copy != copies.broken.rend(); ++copy) {
    const auto& [broken, why] = *copy;
    if (!counts(state.line, broken.generation, broken.step)) continue;
    if (!state.resume || broken.step > state.resume->step)
      say("the copy in memory of step " + std::to_string(broken.step) + " is of no use: " + why);
    return;
  }
}

/// A run whose checkpoints are all damaged must not begin again over what it has written.
bool Decider::all_damaged(const std::vector<Checkpoint>& complete) {
  CoordinatorState& state = s();
  if (state.resume || !newest_on_line(state.line, complete, {})) return false;
  std::string names;
  for (const Checkpoint& checkpoint : complete)
    if (state.damaged.contains(damage_key(checkpoint)))
      names += (names.empty() ? "" : ", ") + checkpoint.name;
  close(Outcome::Failed, "no checkpoint can be used: " + names +
                             " cannot be read whole (weft ckpt verify says what is wrong). Restore "
                             "one of them, or begin again in another directory");
  state.cause.code = Code::Corrupt;
  return true;
}

void Decider::form() {
  CoordinatorState& state = s();
  const std::int64_t from = state.resume ? state.resume->step : 0;
  state.line.push_back({state.generation, from});
  state.saved_step = std::max(state.saved_step, from);
  state.first_best_step = state.best_step;
  state.first_saved_step = state.saved_step;
  state.ranks.assign(state.world, RankState{});
  state.num_ready = state.num_done = state.num_gone = state.num_not_stepping = 0;
  state.addresses.clear();
  state.shared_addresses.reset();
  state.step = from;
  state.step_time = {};
  state.explaining.reset();
  state.without_spare.clear();
  state.cause = {};
  state.abdications = 0;
  enter(RunPhase::Forming, options_.forming_bound);
  // A resume that may fail drops nothing: steps that are done anew replace those of before anyway.
  if (state.damaged.empty()) act(TruncateAfter{from});
  refresh_all();
  // What a lost agent's workers said before this checkpoint is in its spool by now: they flushed
  // before they committed.
  std::size_t used = 0;
  for (auto& [name, node] : state.nodes) {
    used += !node.ranks.empty();
    if (node.lost) want_spool(name, node.incarnation);
  }
  say("generation " + std::to_string(state.generation) + " forms: " + counted(state.world, "rank") +
      " on " + counted(used, "node") + ", " +
      (state.resume ? (is_in_memory(state.resume->name)
                           ? "from the copy in memory of step " + std::to_string(from)
                           : "from checkpoint " + state.resume->name + " (step " +
                                 std::to_string(from) + ")")
                    : "from initial weights"));
  durable();
}

void Decider::run_generation() {
  CoordinatorState& state = s();
  enter(RunPhase::Running, Duration::zero());
  state.last_progress = now_;
  if (!state.addresses.empty())
    state.shared_addresses = std::make_shared<const std::vector<std::string>>(state.addresses);
  say("generation " + std::to_string(state.generation) + " runs: all " +
      counted(state.world, "worker") + " are here");
  refresh_all();
  durable();
}

/// The counters are sums over the ranks, kept up to date one rank at a time.
void Decider::count_rank(const RankState& rank, int sign) {
  CoordinatorState& state = s();
  const bool ready = rank.phase == WorkerPhase::Ready || rank.phase == WorkerPhase::Working ||
                     rank.phase == WorkerPhase::Done;
  const bool working = rank.phase == WorkerPhase::Working && !rank.gone;
  state.num_ready += sign * ready;
  state.num_done += sign * (rank.phase == WorkerPhase::Done);
  state.num_gone += sign * rank.gone;
  state.num_not_stepping += sign * (working && rank.activity != Activity::Stepping);
}

void Decider::take_status(const std::string& node, const WorkerStatus& status) {
  CoordinatorState& state = s();
  if (status.rank < 0 || status.rank >= state.world || state.placement[status.rank].node != node)
    return;
  RankState& known = state.ranks[status.rank];
  const bool moved = std::pair(status.step, status.action) > std::pair(known.step, known.action);
  if (moved || status.activity != known.activity || status.phase != known.phase)
    state.last_progress = now_;
  if (status.step > known.step && status.step_time > Duration::zero())
    state.step_time = state.step_time == Duration::zero()
                          ? status.step_time
                          : (state.step_time * 7 + status.step_time) / 8;
  const bool newly_gone = status.gone && !known.gone;
  const bool newly_failed =
      status.phase == WorkerPhase::Failed && known.phase != WorkerPhase::Failed;
  if (!status.address.empty() && state.phase == RunPhase::Forming) {
    state.addresses.resize(state.world);
    state.addresses[status.rank] = status.address;
  }
  count_rank(known, -1);
  known.phase = status.phase;
  known.gone = known.gone || status.gone;
  known.activity = status.activity;
  known.step = std::max(known.step, status.step);
  known.action = status.action;
  count_rank(known, 1);
  state.step = std::max(state.step, known.step);
  state.best_step = std::max(state.best_step, known.step);

  if (newly_failed || (newly_gone && status.phase != WorkerPhase::Done)) {
    const WorkerFailure failure = status.failure.value_or(WorkerFailure{});
    // While a generation ends, those that were told to go explain nothing.
    const bool consequence = failure.ordered && state.phase == RunPhase::Ending;
    const std::string who = "worker " + std::to_string(status.rank) + " on node " + node;
    Cause cause{Cause::Kind::WorkerFailed, status.rank, node, failure.code, ""};
    if (failure.ordered) {
      cause.kind = Cause::Kind::PeerBlamed;
      cause.text =
          who + " was ended by its agent" + (failure.message.empty() ? "" : ": " + failure.message);
    } else if (!failure.message.empty()) {
      if (failure.blames >= 0) cause.kind = Cause::Kind::PeerBlamed;
      cause.text = who + " failed: " + failure.message;
    } else {
      cause.kind = Cause::Kind::WorkerDied;
      cause.code = Code::Unavailable;
      cause.text = who + " died: " + describe_exit(failure.exit_code, failure.signal);
    }
    if (state.resume && failure.damaged_checkpoint == state.resume->name) {
      state.damaged.insert(damage_key(*state.resume));
      cause.code = Code::Corrupt;
    }
    if (!consequence) note(std::move(cause));
  }
  if (state.phase == RunPhase::Forming && state.num_ready == state.world) run_generation();
  if (state.phase == RunPhase::Running && state.num_done == state.world)
    all_done(status.stopped_early);
  if (state.phase == RunPhase::Ending && state.num_gone == state.world) finish_ending();
}

/// The first cause of the highest kind counts: a death explains what its peers say about it.
void Decider::note(Cause cause) {
  CoordinatorState& state = s();
  if (!has_generation() || cause.kind <= state.cause.kind) return;
  const bool first = state.cause.kind == Cause::Kind::None;
  const bool better = cause.kind != Cause::Kind::PeerBlamed;
  state.cause = std::move(cause);
  if (state.phase != RunPhase::Ending) {
    end_generation();
  } else if (!first && better) {
    say("generation " + std::to_string(state.generation) + " ended because " + state.cause.text);
    durable();
  }
}

void Decider::end_generation() {
  CoordinatorState& state = s();
  state.explaining.reset();
  enter(RunPhase::Ending, options_.ending_bound);
  say("generation " + std::to_string(state.generation) + " ends: " + state.cause.text);
  refresh_all();
  durable();
  if (state.num_gone == state.world) finish_ending();
}

void Decider::all_done(bool stopped_early) {
  CoordinatorState& state = s();
  if (!stopped_early) {
    close(Outcome::Finished, "the recipe is complete");
  } else if (state.stops_asked > 0) {
    close(Outcome::Stopped, "stopped as asked; the last step is saved");
  } else {
    state.cause = {Cause::Kind::Planned, -1, "", Code::Internal, "all workers stopped and saved"};
    end_generation();
  }
}

/// No worker of the generation is left: what comes next?
void Decider::finish_ending() {
  CoordinatorState& state = s();
  const Cause cause = state.cause;
  blame(cause);
  state.swap_node.clear();  // its ban keeps it out
  for (auto& [name, node] : state.nodes) node.ranks.clear();
  const bool progressed =
      state.best_step > state.first_best_step || state.saved_step > state.first_saved_step;
  const bool damaged = cause.code == Code::Corrupt && !state.damaged.empty();
  if (progressed) state.fruitless = 0;
  if (!progressed && is_fruitless_kind(cause.kind) && !damaged) ++state.fruitless;
  durable();
  if (state.outcome != Outcome::Undecided) {
    close(state.outcome, state.reason);
  } else if (never_retried(cause)) {
    close(Outcome::Failed, cause.text);
  } else if (state.fruitless >= options_.fruitless_max) {
    close(Outcome::Failed, cause.text + "\n  " + std::to_string(state.fruitless) +
                               " generations in a row ended without a new step or checkpoint");
  } else if (state.stops_asked > 0) {
    close(Outcome::Stopped,
          "stopped as asked; the newest checkpoint stands, because " + cause.text);
  } else if (state.pause_asked) {
    enter(RunPhase::Paused, Duration::zero());
    say("paused; continue when you like");
    refresh_all();
  } else {
    enter(RunPhase::Waiting, options_.nodes_bound);
    try_form();
    if (state.phase == RunPhase::Waiting) say("waiting for nodes");
    refresh_all();
  }
}

void Decider::blame(const Cause& cause) {
  CoordinatorState& state = s();
  const auto found = state.nodes.find(cause.node);
  if (found == state.nodes.end() || cause.kind < Cause::Kind::Hang) return;
  std::vector<Instant>& blamed = found->second.blamed;
  std::erase_if(blamed, [&](Instant then) { return now_ - then > options_.ban_window; });
  blamed.push_back(now_);
  if (static_cast<int>(blamed.size()) < options_.ban_blames) return;
  if (ban_if_spared(cause.node,
                    "ended " + counted(blamed.size(), "generation") + ", lately: " + cause.text,
                    now_ + options_.ban_length))
    blamed.clear();
}

/// Bans where the run can go on without the node; `until` none: until a person lifts it.
bool Decider::ban_if_spared(const std::string& node, const std::string& reason,
                            std::optional<Instant> until) {
  CoordinatorState& state = s();
  int slots = 0;
  for (const NodeRoom& room : rooms(node)) slots += room.slots;
  if (slots < state.world) return false;
  state.bans[node] = {reason, until};
  say("node " + node + " is banned: " + reason);
  durable();
  return true;
}

void Decider::learn_saved(const Report& report) {
  CoordinatorState& state = s();
  if (!report.saved || !counts(state.line, report.saved->generation, report.saved->step)) return;
  if (report.saved->step > state.saved_step) {
    state.saved_step = report.saved->step;
    state.best_step = std::max(state.best_step, state.saved_step);
    state.last_progress = now_;
  }
  if (report.saved_request <= state.saves_done || report.saved_request > state.save.id) return;
  state.saves_done = report.saved_request;
  say("saved checkpoint " + report.saved->name + " as asked");
  durable();
  refresh_all();
  if (state.swap_node.empty() || state.saves_done < state.save.id) return;
  const std::string node = std::exchange(state.swap_node, "");
  if (state.phase != RunPhase::Running) return;
  const auto ban = state.bans.find(node);
  note({Cause::Kind::Planned, -1, node, Code::Internal,
        "node " + node + " is taken out" +
            (ban == state.bans.end() ? "" : ": " + ban->second.reason)});
}

}  // namespace weft::runtime

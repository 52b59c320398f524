// What only the passing of time decides: lost nodes, hangs, bounds, leases, bans that end.
#include <algorithm>
#include <cmath>

#include "runtime/coordinator/decider.h"

namespace weft::runtime {

namespace {

Duration scaled(Duration duration, double factor) {
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(std::min(seconds(duration) * factor, 1e9)));
}

std::string in_seconds(Duration duration) {
  return std::to_string(std::llround(seconds(duration))) + " s";
}

}  // namespace

void Decider::operator()(const Tick&) {
  CoordinatorState& state = s();
  if (state.deposed || state.phase == RunPhase::Ended) return;
  wake_up();
  state.last_tick = now_;
  if (now_ >= state.next_lease) {
    act(RenewLease{state.term, ++state.lease_beat});
    state.next_lease = now_ + options_.lease_renew;
  }
  // Nobody looks for another leader while this one answers; so it must not answer without a lease.
  if (state.nodes.size() > 1 && now_ - state.lease_renewed > options_.lease_lost_bound)
    return step_down(false, "the lease could not be renewed for " +
                                in_seconds(options_.lease_lost_bound) + ": another node may lead");
  watch_bans();
  watch_nodes();
  watch_storage();
  for (auto& [spool, next] : state.spools)
    if (now_ >= next) {
      next = now_ + options_.retry;
      act(ReadSpool{spool.first, spool.second});
    }
  watch_phase();
}

/// Whoever slept has no opinion about others' silence meanwhile.
void Decider::wake_up() {
  CoordinatorState& state = s();
  const Duration gap = now_ - state.last_tick;
  if (state.last_tick == Instant{} || gap <= options_.tick_gap) return;
  for (auto& [name, node] : state.nodes) {
    node.last_heard = std::min(node.last_heard + gap, now_);
    if (node.spool_failing_since) *node.spool_failing_since += gap;
  }
  state.deadline += gap;
  state.lease_renewed = std::min(state.lease_renewed + gap, now_);
  state.last_progress = std::min(state.last_progress + gap, now_);
  if (state.failing_since) *state.failing_since += gap;
  if (state.explaining) *state.explaining += gap;
  say("the coordinator was stopped for " + in_seconds(gap) + "; nobody is blamed for it");
}

void Decider::watch_bans() {
  std::erase_if(s().bans, [&](const auto& entry) {
    if (!entry.second.until || now_ < *entry.second.until) return false;
    say("node " + entry.first + " may be used again: its ban is over");
    durable();
    return true;
  });
}

/// Members have their time to find a new leader: they look for one only after a while of silence.
/// Not so the node of a leader whose lease ran out: whoever lives there has heard nothing for
/// longer than that, looks twice a second, and is judged like anybody who is silent.
void Decider::watch_nodes() {
  CoordinatorState& state = s();
  const Duration silent = options_.heartbeat * options_.heartbeats_missed;
  for (auto& [name, node] : state.nodes) {
    if (node.lost || node.left) continue;
    const bool looks = node.heard || name == state.silent_leader;
    const Duration bound = looks ? silent : options_.rejoin_bound;
    if (now_ - node.last_heard > bound)
      lose(name, node,
           "node " + name + " is lost: no report for " + in_seconds(now_ - node.last_heard));
  }
}

void Decider::watch_storage() {
  CoordinatorState& state = s();
  if (state.failing_since && now_ - *state.failing_since > options_.storage_bound)
    fail_run({Cause::Kind::None, -1, "", Code::Io,
              "the run directory could not be written for " + in_seconds(options_.storage_bound) +
                  ": " + state.failing});
  for (const auto& [name, node] : state.nodes)
    if (node.spool_failing_since && !node.lost &&
        now_ - *node.spool_failing_since > options_.storage_bound)
      fail_run({Cause::Kind::None, -1, name, Code::Io,
                "node " + name + " could not keep its records for " +
                    in_seconds(options_.storage_bound) + ": " + node.spool_error});
}

void Decider::watch_phase() {
  CoordinatorState& state = s();
  switch (state.phase) {
    case RunPhase::Waiting:
      try_form();
      if (state.phase == RunPhase::Waiting) abdicate_if_alone();
      break;
    case RunPhase::Claiming:
      if (now_ < state.next_ask) break;
      state.next_ask = now_ + options_.retry;
      if (state.claimed)
        act(ListCheckpoints{});
      else
        act(ClaimGeneration{state.generation});
      break;
    case RunPhase::Forming:
      if (now_ >= state.deadline) name_missing();
      break;
    case RunPhase::Running:
      watch_progress();
      break;
    case RunPhase::Ending:
      if (now_ >= state.deadline) name_stuck();
      break;
    case RunPhase::Closing:
      if (closed_out() || now_ >= state.deadline) finish_closing();
      // A run directory that cannot be written must not keep everybody for ever.
      if (state.phase == RunPhase::Closing && now_ >= state.deadline + options_.storage_bound)
        enter(RunPhase::Ended, Duration::zero());
      break;
    case RunPhase::Paused:
    case RunPhase::Ended:
      break;
  }
}

void Decider::name_missing() {
  CoordinatorState& state = s();
  for (int rank = 0; rank < state.world; ++rank) {
    if (state.ranks[rank].phase != WorkerPhase::Starting) continue;
    const std::string& node = state.placement[rank].node;
    note({Cause::Kind::FormingLate, rank, node, Code::DeadlineExceeded,
          "worker " + std::to_string(rank) + " on node " + node +
              " did not report within the time for starting"});
    return;
  }
}

/// Workers that cannot even be killed: their node is not used for a while, and the run goes on.
void Decider::name_stuck() {
  CoordinatorState& state = s();
  // Whoever was not even told is not stuck.
  for (const auto& [name, node] : state.nodes)
    if (!node.ranks.empty() && !node.lost && !took_order(node)) {
      state.deadline = now_ + options_.ending_bound;
      return;
    }
  for (auto& [name, node] : state.nodes) {
    const bool stuck =
        std::ranges::any_of(node.ranks, [&](int rank) { return !state.ranks[rank].gone; });
    if (!stuck) continue;
    state.bans[name] = {
        "its workers could not be ended within " + in_seconds(options_.ending_bound),
        now_ + options_.ban_length};
    say("node " + name + " is banned: " + state.bans[name].reason);
    for (const int rank : node.ranks) {
      count_rank(state.ranks[rank], -1);
      state.ranks[rank].gone = true;
      count_rank(state.ranks[rank], 1);
    }
  }
  finish_ending();
}

void Decider::watch_progress() {
  CoordinatorState& state = s();
  if (state.explaining) {
    if (now_ < *state.explaining) return;
    // Nobody explained it: who is furthest behind is the likeliest cause.
    int last = 0;
    for (int rank = 1; rank < state.world; ++rank) {
      const RankState &a = state.ranks[rank], &b = state.ranks[last];
      if (std::pair(a.step, a.action) < std::pair(b.step, b.action)) last = rank;
    }
    state.explaining = now_;
    (*this)(WaitsExplained{state.generation, last,
                           "no rank progressed for " + in_seconds(now_ - state.last_progress) +
                               "; rank " + std::to_string(last) + " is furthest behind, in step " +
                               std::to_string(state.ranks[last].step + 1)});
    return;
  }
  const bool measured =
      state.step_time > Duration::zero() && state.num_not_stepping == 0 && state.num_done == 0;
  const Duration bound = std::max(measured ? options_.hang_bound_min : options_.slow_bound,
                                  scaled(state.step_time, options_.hang_factor));
  if (now_ - state.last_progress <= bound) return;
  state.explaining = now_ + options_.explain_bound;
  act(ExplainWaits{state.generation});
}

/// A leader that most cannot reach would wait for ever while others could go on.
void Decider::abdicate_if_alone() {
  CoordinatorState& state = s();
  if (now_ >= state.deadline) {
    std::string others;
    int slots = 0;
    for (const auto& [name, node] : state.nodes) {
      const std::string why = why_not(name, node);
      if (why.empty())
        slots += node.facts.slots;
      else
        others += "; node " + name + ": " + why;
    }
    close(Outcome::Failed, std::to_string(state.world) + " slots are needed and " +
                               std::to_string(slots) + " were there for " +
                               in_seconds(options_.nodes_bound) + others);
    state.cause.code = Code::Unavailable;
    return;
  }
  const bool lost = std::ranges::any_of(state.nodes, [](const auto& e) { return e.second.lost; });
  const Duration bound =
      std::min(options_.abdicate_bound_max,
               scaled(options_.abdicate_bound, std::pow(2.0, std::min(state.abdications, 20))));
  if (!lost || now_ - std::max(state.phase_since, state.term_since) <= bound) return;
  ++state.abdications;
  durable();
  step_down(true, "this coordinator reaches too few nodes; another one may lead");
}

}  // namespace weft::runtime

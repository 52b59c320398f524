// What people ask, what the shell tells, and how the run ends.
#include <algorithm>

#include "runtime/coordinator/decider.h"

namespace weft::runtime {

void Decider::step_down(bool abdicated, const std::string& reason) {
  s().deposed = true;
  act(StepDown{abdicated, reason});
  say(reason);
}

void Decider::operator()(const LeaseRenewed& renewed) {
  s().lease_renewed = std::max(s().lease_renewed, now_ - renewed.age);
  // Also while an abdication waits for a journal that cannot be written any more.
  if (renewed.highest_term > s().term)
    step_down(false, "term " + std::to_string(renewed.highest_term) + " leads");
}

void Decider::operator()(const StopAsked&) {
  CoordinatorState& state = s();
  if (state.outcome != Outcome::Undecided || ++state.stops_asked > 2) return;
  durable();
  if (state.stops_asked == 2) {
    stop_at_once();
  } else if (has_generation()) {
    say("asked to stop: finishing the step and saving (ask again to stop at once)");
    refresh_all();
  } else {
    close(Outcome::Stopped, "stopped; the newest checkpoint stands");
  }
}

void Decider::stop_at_once() {
  CoordinatorState& state = s();
  const std::string reason = "stopped at once; the newest checkpoint stands";
  if (!has_generation()) {
    close(Outcome::Stopped, reason);
    return;
  }
  state.outcome = Outcome::Stopped;
  state.reason = reason;
  if (state.phase == RunPhase::Ending) {
    refresh_all();
    say(reason);
  } else {
    note({Cause::Kind::Planned, -1, "", Code::Internal, reason});
  }
}

void Decider::operator()(const PauseAsked&) {
  CoordinatorState& state = s();
  if (state.outcome != Outcome::Undecided || state.pause_asked) return;
  state.pause_asked = true;
  durable();
  if (has_generation()) {
    say("asked to pause: finishing the step and saving");
    refresh_all();
  } else if (state.phase != RunPhase::Ended && state.phase != RunPhase::Closing) {
    enter(RunPhase::Paused, Duration::zero());
    say("paused; continue when you like");
  }
}

void Decider::operator()(const ContinueAsked&) {
  CoordinatorState& state = s();
  if (!state.pause_asked) return;
  state.pause_asked = false;
  durable();
  say("asked to continue");
  if (state.phase == RunPhase::Paused) {
    enter(RunPhase::Waiting, options_.nodes_bound);
    try_form();
  }
  refresh_all();
}

void Decider::operator()(const SaveAsked& asked) {
  CoordinatorState& state = s();
  if (state.outcome != Outcome::Undecided) return;
  // What is asked for already answers this too: a signal reaches all agents of a run.
  if (state.save.id > state.saves_done && state.save.at_step <= asked.at_step) return;
  state.save = {state.save.id + 1, asked.at_step};
  durable();
  say("asked to save after " + (asked.at_step == 0 ? std::string("the present step")
                                                   : "step " + std::to_string(asked.at_step)));
  refresh_all();
}

/// Takes the node out of a running generation once everything is saved.
void Decider::swap_after_save(const std::string& node) {
  CoordinatorState& state = s();
  const auto found = state.nodes.find(node);
  if (found == state.nodes.end() || found->second.ranks.empty()) return;
  if (state.phase != RunPhase::Forming && state.phase != RunPhase::Running) return;
  state.swap_node = node;
  state.save = {state.save.id + 1, 0};
  refresh_all();
}

void Decider::operator()(const BanAsked& asked) {
  CoordinatorState& state = s();
  Ban ban{asked.reason.empty() ? "asked by a person" : asked.reason, std::nullopt};
  if (asked.length > Duration::zero()) ban.until = now_ + asked.length;
  say("node " + asked.node + " is banned: " + ban.reason);
  state.bans[asked.node] = std::move(ban);
  durable();
  swap_after_save(asked.node);
}

void Decider::operator()(const UnbanAsked& asked) {
  if (s().bans.erase(asked.node) == 0) return;
  durable();
  say("node " + asked.node + " may be used again");
  try_form();
}

void Decider::operator()(const StragglerFlagged& flagged) {
  CoordinatorState& state = s();
  if (flagged.generation != state.generation || state.outcome != Outcome::Undecided ||
      !has_generation() || flagged.rank < 0 || flagged.rank >= state.world)
    return;
  // One that computes wrong may have ended the generation itself by now.
  if (state.phase == RunPhase::Ending && !flagged.corrupt) return;
  const std::string node = state.placement[flagged.rank].node;
  if (state.bans.contains(node)) return;  // known, for another reason or rank
  const std::string what =
      "rank " + std::to_string(flagged.rank) + " on node " + node + ": " + flagged.reason;
  std::optional<Instant> until;  // wrong numbers do not pass with time
  if (!flagged.corrupt) until = now_ + options_.ban_length;
  if (!flagged.corrupt && !options_.swap_stragglers) {
    say(what);
  } else if (ban_if_spared(node, what, until)) {
    swap_after_save(node);
  } else {
    state.without_spare.push_back(flagged);
    say(what + "; there is no spare to swap it for");
  }
}

void Decider::operator()(const WaitsExplained& explained) {
  CoordinatorState& state = s();
  if (!state.explaining || explained.generation != state.generation ||
      state.phase != RunPhase::Running)
    return;
  Cause cause{Cause::Kind::Hang, explained.culprit, "", Code::DeadlineExceeded, explained.text};
  if (cause.rank >= 0 && cause.rank < state.world) cause.node = state.placement[cause.rank].node;
  note(std::move(cause));
}

void Decider::operator()(const ShellFailed& failed) {
  CoordinatorState& state = s();
  if (state.deposed) return;
  if (failed.final) {
    fail_run({Cause::Kind::None, -1, "", failed.error.code, failed.error.message});
    return;
  }
  if (!state.failing_since) {
    state.failing_since = now_;
    say(failed.error.message + " (trying again)");
  }
  state.failing = failed.error.message;
}

void Decider::operator()(const ShellRecovered&) {
  CoordinatorState& state = s();
  if (!state.failing_since) return;
  state.failing_since.reset();
  say("works again: " + state.failing);
}

void Decider::fail_run(Cause cause) {
  CoordinatorState& state = s();
  if (state.outcome != Outcome::Undecided) return;
  const std::string reason = cause.text;
  if (!has_generation()) {
    state.cause = std::move(cause);
    close(Outcome::Failed, reason);
    return;
  }
  state.outcome = Outcome::Failed;
  state.reason = reason;
  state.cause = std::move(cause);
  if (state.phase != RunPhase::Ending) end_generation();
  durable();
}

/// The outcome is decided and nobody works any more: agents hand over their records and leave.
void Decider::close(Outcome outcome, const std::string& reason) {
  CoordinatorState& state = s();
  if (state.phase == RunPhase::Closing || state.phase == RunPhase::Ended) return;
  state.outcome = outcome;
  state.reason = reason;
  enter(RunPhase::Closing, options_.closing_bound);
  for (auto& [name, node] : state.nodes)
    if (node.lost && node.generation > 0) want_spool(name, node.incarnation);
  say(reason);
  refresh_all();
  durable();
}

/// Has everybody handed over what it had?
bool Decider::closed_out() {
  const CoordinatorState& state = s();
  return state.spools.empty() && std::ranges::all_of(state.nodes, [&](const auto& entry) {
           const Node& node = entry.second;
           const bool told =
               node.heard && node.order.wanted == Wanted::Leave && node.taken >= node.order.number;
           return node.lost || node.left ||
                  (told && node.live_workers == 0 && node.unacknowledged == 0);
         });
}

void Decider::finish_closing() {
  CoordinatorState& state = s();
  if (state.end_recorded) {
    enter(RunPhase::Ended, Duration::zero());
    durable();
    return;
  }
  if (now_ < state.next_ask) return;
  state.next_ask = now_ + options_.retry;
  act(RecordEnd{state.outcome, state.reason});
}

void Decider::operator()(const EndRecorded&) {
  CoordinatorState& state = s();
  if (state.deposed || state.phase != RunPhase::Closing || state.end_recorded) return;
  state.end_recorded = true;
  finish_closing();
}

}  // namespace weft::runtime

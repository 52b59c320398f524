// Whom the agent follows, when it leads itself, and when it leaves.
#include <algorithm>

#include "runtime/coordinator/agent_decider.h"

namespace weft::runtime {

/// The golden ratio's multiples lie evenly in the heartbeat, however many there are.
Instant next_beat(Instant now, Duration heartbeat, int roster) {
  constexpr std::uint32_t kGolden = 2654435769u;
  const double share = static_cast<double>(static_cast<std::uint32_t>(roster) * kGolden) * 0x1p-32;
  const auto own = static_cast<std::int64_t>(share * static_cast<double>(heartbeat.count()));
  const std::int64_t behind = (now.time_since_epoch().count() - own) % heartbeat.count();
  return now + heartbeat - Duration(behind < 0 ? behind + heartbeat.count() : behind);
}

bool AgentDecider::leading() const {
  return d_.state.coordinator_term > 0 && d_.state.coordinator_term == d_.state.election.term;
}

/// A message of a term came. False: from a leader that was replaced.
bool AgentDecider::hear(std::int64_t term) {
  const std::int64_t before = s().election.term;
  if (!hear_leader(s().election, term, now_)) return false;
  directory_works();
  if (s().election.term != before) new_leader();
  return true;
}

void AgentDecider::new_leader() {
  AgentState& state = s();
  state.changed = true;
  for (auto& [key, spool] : state.spools) spool.sent = spool.acknowledged;
  if (state.coordinator_term > 0 && state.coordinator_term < state.election.term &&
      !state.coordinator_dying) {
    state.coordinator_dying = true;
    act(KillCoordinator{});
  }
}

void AgentDecider::follow(const ElectionStep& step) {
  AgentState& state = s();
  if (std::holds_alternative<ReadDirectory>(step)) {
    act(ReadClaims{});
  } else if (const auto* claim = std::get_if<TryClaim>(&step)) {
    act(ClaimTerm{claim->term});
  } else if (const auto* leader = std::get_if<FollowLeader>(&step)) {
    act(Connect{leader->leader});
    say("follows node " + leader->leader.node + ", term " + std::to_string(leader->leader.term));
    state.changed = true;
  } else if (const auto* end = std::get_if<SeeEnd>(&step)) {
    if (!state.end) say(std::string("the run has ended: ") + to_string(end->end.outcome));
    state.end = end->end;
    if (!state.leaving_since) state.leaving_since = now_;
  }
}

void AgentDecider::operator()(const ClaimsRead& read) {
  AgentState& state = s();
  const std::int64_t before = state.election.term;
  // A disk that is full can be read; who renews a lease there can write.
  const std::optional<Claim>& highest = read.claims.highest;
  const bool renewed =
      highest && highest->node != state.node && highest->beat != state.election.watched_beat;
  if (!state.directory_unwritable || renewed) directory_works();
  const ElectionStep step = elect_on_read(state.election, read.claims, now_, leading(),
                                          state.facts.roster, options_.election);
  if (state.election.term != before) new_leader();
  follow(step);
  // Somebody formed a later generation without us: what our workers do does not count any more.
  if (read.claims.generation > state.generation && num_live() > 0 &&
      read.claims.generation > state.order.generation)
    end_workers(
        "generation " + std::to_string(read.claims.generation) + " was formed without this node",
        false);
  leave_when_done();
}

void AgentDecider::operator()(const ClaimsUnreadable& failed) {
  directory_fails(failed.error.message, s().election.claiming);
}

void AgentDecider::directory_works() {
  s().directory_failing_since.reset();
  s().directory_unwritable = false;
}

void AgentDecider::directory_fails(const std::string& error, bool writing) {
  AgentState& state = s();
  if (!state.directory_failing_since) {
    state.directory_failing_since = now_;
    say(error + " (trying again)");
  }
  state.directory_error = error;
  state.directory_unwritable |= writing;
}

void AgentDecider::operator()(const ClaimDecided& decided) {
  AgentState& state = s();
  if (!elect_on_claim(state.election, decided.term, decided.won, now_)) return;
  new_leader();
  Claim self;
  self.term = decided.term;
  self.node = state.node;
  self.incarnation = state.incarnation;
  state.election.leader = self;
  state.coordinator_term = decided.term;
  state.coordinator_since = now_;
  state.coordinator_dying = false;
  act(StartCoordinator{decided.term});
  act(Connect{self});
  say("starts a coordinator");
}

void AgentDecider::claim_next() {
  ElectionState& election = s().election;
  if (election.claiming) return;
  election.claiming = true;
  act(ClaimTerm{election.term + 1});
}

void AgentDecider::operator()(const CoordinatorExited& exited) {
  AgentState& state = s();
  if (exited.term != state.coordinator_term) return;
  const bool led = leading();
  const bool killed = state.coordinator_dying;
  state.coordinator_term = 0;
  state.coordinator_dying = false;
  state.coordinator_ended = now_;
  state.election.last_heard = Instant{};  // look around at once
  state.election.last_read = Instant{};
  using How = CoordinatorExited::How;
  switch (exited.how) {
    case How::Ended:
      state.end = RunEnd{exited.outcome, exited.reason};
      if (!state.leaving_since) state.leaving_since = now_;
      break;
    case How::Abdicated:
      state.election.not_before = now_ + options_.election.abdicated_pause;
      break;
    case How::Refused:
      state.election.refused = true;
      say("this node cannot lead: " + exited.reason);
      if (exited.storage) directory_fails(exited.reason, true);
      if (options_.alone) {
        state.end = RunEnd{Outcome::Failed, exited.reason};
        if (!state.leaving_since) state.leaving_since = now_;
      }
      break;
    case How::SteppedDown:
      break;
    case How::Crashed: {
      if (killed) break;  // by us
      if (now_ - state.coordinator_since > std::chrono::minutes(1)) state.election.crashes = 0;
      const int crashes = ++state.election.crashes;
      const Duration pause = std::min<Duration>(
          crashes < 3 ? Duration::zero() : std::chrono::seconds(1 << std::min(crashes - 3, 10)),
          options_.election.crash_pause_max);
      state.election.not_before = now_ + pause;
      say("the coordinator of term " + std::to_string(exited.term) + " died: " + exited.reason);
      if (led && pause == Duration::zero()) claim_next();
      break;
    }
  }
}

void AgentDecider::operator()(const AgentStopAsked&) {
  AgentState& state = s();
  ++state.stops_asked;
  state.changed = true;
  const bool silent = now_ - state.election.last_heard >= options_.election.silent_bound;
  if (state.stops_asked < 2 || (!silent && state.stops_asked < 3)) return;
  // Nobody there to ask.
  state.end = RunEnd{Outcome::Stopped, "stopped at once; the newest checkpoint stands"};
  if (!state.leaving_since) state.leaving_since = now_;
}

void AgentDecider::operator()(const AgentSaveAsked&) {
  ++s().saves_asked;
  s().changed = true;
}

void AgentDecider::operator()(const AgentTick&) {
  AgentState& state = s();
  if (state.ending && now_ >= state.kill_hard_at && num_live() > 0) {
    state.kill_hard_at = now_ + options_.killing_bound;
    for (const auto& [rank, worker] : state.workers)
      if (!worker.status.gone) act(KillWorker{state.generation, rank, true});
  }
  if (is_released()) release();
  follow(elect_on_tick(state.election, now_, leading(), options_.election));
  if (now_ >= state.next_records && unacknowledged() > 0) {
    state.next_records = now_ + options_.resend;
    send_all_again();
  }
  give_up_without_leader();
  leave_when_done();
}

/// Nobody leads and nothing is done here. Where the shared directory fails nobody can come to lead
/// either, so it is waited for as long as its coordinator would; the newest checkpoint stands.
void AgentDecider::give_up_without_leader() {
  AgentState& state = s();
  if (leading() || num_live() > 0 || state.leaving_since) return;
  const Instant since = std::max(state.election.last_heard, state.coordinator_ended);
  if (state.directory_failing_since &&
      now_ - std::max(since, *state.directory_failing_since) > options_.storage_bound) {
    state.end = RunEnd{Outcome::Failed, "nobody can lead this run: " + state.directory_error};
    state.end_code = Code::Io;
  } else if (now_ - since > options_.orphan_bound) {
    state.end = RunEnd{Outcome::Failed, "nobody led this run for too long"};
  } else {
    return;
  }
  state.leaving_since = now_;
}

void AgentDecider::leave_when_done() {
  AgentState& state = s();
  if (!state.leaving_since) return;
  if (num_live() > 0) {
    const std::string reason = state.end ? state.end->reason : state.order.reason;
    end_workers(reason, false);
    return;
  }
  if (state.coordinator_term > 0) {
    // It ends by itself unless somebody else ended the run.
    const bool foreign = state.end && now_ - *state.leaving_since > options_.killing_bound;
    if (foreign && !state.coordinator_dying) {
      state.coordinator_dying = true;
      act(KillCoordinator{});
    }
    return;
  }
  const bool handed_over =
      unacknowledged() == 0 || state.end || now_ - *state.leaving_since > options_.leaving_bound;
  if (!handed_over) return;
  if (state.end)
    leave(state.end->outcome, state.end->reason);
  else
    leave(state.order.outcome, state.order.reason);
}

void AgentDecider::leave(Outcome outcome, const std::string& reason) {
  if (s().election.leader) act(SendReport{make_report(true)});
  act(LeaveRun{outcome, reason, s().end_code});
  s().left = true;
  s().changed = false;
  say("leaves: " + reason);
}

Report AgentDecider::make_report(bool left) {
  AgentState& state = s();
  Report report;
  report.node = state.node;
  report.incarnation = state.incarnation;
  report.number = ++state.report;
  report.term = state.election.term;
  report.order = state.order.term == report.term ? state.order.number : 0;
  if (state.introduced != report.term) report.facts = state.facts;
  report.generation = state.generation;
  report.workers.reserve(state.workers.size());
  for (const auto& [rank, worker] : state.workers) report.workers.push_back(worker.status);
  report.unacknowledged = unacknowledged();
  report.spool_error = state.spool_error;
  report.saved = state.saved;
  report.saved_request = state.saved_request;
  report.copies = state.copies;
  report.stops_asked = state.stops_asked;
  report.saves_asked = state.saves_asked;
  report.left = left;
  return report;
}

void AgentDecider::report_if_due() {
  AgentState& state = s();
  if (state.left || !state.election.leader || (!state.changed && now_ < state.next_report)) return;
  state.changed = false;
  state.next_report = next_beat(now_, options_.heartbeat, state.facts.roster);
  act(SendReport{make_report(false)});
  send_records();
}

}  // namespace weft::runtime

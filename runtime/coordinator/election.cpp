#include "runtime/coordinator/election.h"

#include <algorithm>

namespace weft::runtime {
namespace {

/// Since when, and how often, the counter was seen to stand still.
void watch(ElectionState& state, std::int64_t beat, Instant now) {
  if (beat == state.watched_beat && state.beat_reads > 0) {
    ++state.beat_reads;
    return;
  }
  state.watched_beat = beat;
  state.beat_since = now;
  state.beat_reads = 1;
}

void see_term(ElectionState& state, std::int64_t term, Instant now) {
  state.term = term;
  state.leader.reset();
  state.last_heard = now;
  state.beat_reads = 0;
}

ElectionStep stand(ElectionState& state, std::int64_t term) {
  state.claiming = true;
  return TryClaim{term};
}

}  // namespace

bool hear_leader(ElectionState& state, std::int64_t term, Instant now) {
  if (term < state.term) return false;
  if (term > state.term) see_term(state, term, now);
  state.last_heard = now;
  return true;
}

ElectionStep elect_on_tick(ElectionState& state, Instant now, bool leading,
                           const ElectionOptions& options) {
  if (leading || state.claiming) return {};
  const bool known = state.leader && !state.leader->endpoint.empty();
  if (known && now - state.last_heard < options.look_bound) return {};
  if (state.last_read != Instant{} && now - state.last_read < options.read_every) return {};
  state.last_read = now;
  return ReadDirectory{};
}

ElectionStep elect_on_read(ElectionState& state, const Claims& claims, Instant now, bool leading,
                           int roster, const ElectionOptions& options) {
  if (claims.end) return SeeEnd{*claims.end};
  if (leading || state.claiming) return {};
  const Duration turn = options.stagger * (roster % std::max(options.stagger_places, 1));
  const bool may = !state.refused && now >= state.not_before;
  if (!claims.highest) {
    watch(state, -1, now);
    return may && now - state.beat_since >= turn ? stand(state, 1) : ElectionStep{};
  }
  const Claim& highest = *claims.highest;
  if (highest.term < state.term) return {};  // read before what we heard since
  if (highest.term > state.term) see_term(state, highest.term, now);
  watch(state, highest.beat, now);
  if (!highest.endpoint.empty() && !highest.abdicated &&
      (!state.leader || state.leader->endpoint != highest.endpoint)) {
    state.leader = highest;
    state.last_heard = now;  // it has its time to answer
    return FollowLeader{highest};
  }
  if (!state.leader) state.leader = highest;
  const Duration stood = now - state.beat_since;
  const bool expired = highest.abdicated || (stood >= options.lease_bound + turn &&
                                             state.beat_reads >= options.lease_reads);
  const bool silent = highest.abdicated || now - state.last_heard >= options.silent_bound;
  return may && expired && silent && stood >= turn ? stand(state, highest.term + 1)
                                                   : ElectionStep{};
}

bool elect_on_claim(ElectionState& state, std::int64_t term, bool won, Instant now) {
  state.claiming = false;
  state.beat_reads = 0;  // whoever won needs time to renew
  if (!won || term <= state.term) return false;
  see_term(state, term, now);
  return true;
}

}  // namespace weft::runtime

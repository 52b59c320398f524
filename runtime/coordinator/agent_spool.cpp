// Records: kept from the moment a worker makes them until the coordinator has them.
#include <algorithm>

#include "runtime/coordinator/agent_decider.h"

namespace weft::runtime {

void AgentDecider::operator()(const RecordMade& made) {
  AgentState::Spool& spool = s().spools[{made.generation, made.rank}];
  if (made.key.sequence != spool.made) return;  // not one of ours, or said twice
  ++spool.made;
  spool.waiting.push_back(made.key);
  act(AppendSpool{made.generation, made.rank, made.key});
}

void AgentDecider::operator()(const FlushAsked& asked) {
  AgentState::Spool& spool = s().spools[{asked.generation, asked.rank}];
  if (spool.written >= spool.made)
    act(AnswerFlush{asked.rank, asked.id});
  else
    spool.flushes.push_back({asked.id, spool.made});
}

void AgentDecider::operator()(const SpoolWritten& written) {
  AgentState& state = s();
  const auto found = state.spools.find({written.generation, written.rank});
  if (found == state.spools.end()) return;
  AgentState::Spool& spool = found->second;
  spool.written = std::clamp(written.next, spool.written, spool.made);
  std::erase_if(spool.flushes, [&](const auto& flush) {
    if (flush.second > spool.written) return false;
    if (written.generation == state.generation) act(AnswerFlush{written.rank, flush.first});
    return true;
  });
  if (!state.spool_error.empty()) {
    state.spool_error.clear();
    state.changed = true;
    say("the spool can be written again");
  }
  send_records();
}

void AgentDecider::operator()(const SpoolFailed& failed) {
  AgentState& state = s();
  if (state.spool_error.empty()) say("the spool cannot be written: " + failed.error.message);
  state.changed = state.changed || state.spool_error.empty();
  state.spool_error = failed.error.message;
}

/// What is in the file and was not sent to this leader yet.
void AgentDecider::send_records() {
  AgentState& state = s();
  if (!state.election.leader || state.introduced != state.election.term) return;
  for (auto& [key, spool] : state.spools) {
    while (spool.sent < spool.written) {
      Records records{state.node, state.incarnation, key.first, key.second, {}};
      const std::int64_t last =
          std::min(spool.written, spool.sent + std::int64_t{options_.records_batch});
      for (; spool.sent < last; ++spool.sent)
        records.keys.push_back(spool.waiting[spool.sent - spool.acknowledged]);
      act(SendRecords{std::move(records)});
      state.next_records = now_ + options_.resend;
    }
  }
}

void AgentDecider::send_all_again() {
  for (auto& [key, spool] : s().spools) spool.sent = spool.acknowledged;
  send_records();
}

void AgentDecider::operator()(const Acknowledgement& acknowledgement) {
  AgentState& state = s();
  if (!hear(acknowledgement.term)) return;
  const auto found = state.spools.find({acknowledgement.generation, acknowledgement.rank});
  if (found == state.spools.end()) return;
  AgentState::Spool& spool = found->second;
  const std::int64_t next = std::min(acknowledgement.next, spool.made);
  for (; spool.acknowledged < next; ++spool.acknowledged) spool.waiting.pop_front();
  spool.sent = std::max(spool.sent, spool.acknowledged);
  spool.written = std::max(spool.written, spool.acknowledged);
}

std::int64_t AgentDecider::unacknowledged() const {
  std::int64_t sum = 0;
  for (const auto& [key, spool] : d_.state.spools) sum += spool.made - spool.acknowledged;
  return sum;
}

void AgentDecider::forget_old_spools() {
  std::erase_if(s().spools, [&](const auto& entry) {
    return entry.first.first < s().generation && entry.second.waiting.empty();
  });
}

}  // namespace weft::runtime

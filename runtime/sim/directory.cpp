#include "runtime/sim/directory.h"

#include <algorithm>

namespace weft::runtime::sim {

bool Directory::claim_term(const Claim& claim) {
  return terms_.try_emplace(claim.term, claim).second;
}

void Directory::renew(std::int64_t term, std::int64_t beat) {
  if (const auto found = terms_.find(term); found != terms_.end()) found->second.beat = beat;
}

void Directory::publish(std::int64_t term, const std::string& endpoint) {
  if (const auto found = terms_.find(term); found != terms_.end())
    found->second.endpoint = endpoint;
}

void Directory::abdicate(std::int64_t term) {
  if (const auto found = terms_.find(term); found != terms_.end()) found->second.abdicated = true;
}

Claims Directory::claims() const {
  Claims claims;
  if (!terms_.empty()) claims.highest = terms_.rbegin()->second;
  claims.generation = highest_generation();
  if (const auto end = ends_.find(highest_term()); end != ends_.end()) claims.end = end->second;
  return claims;
}

std::string Directory::silent_leader(std::int64_t term, const std::string& node) const {
  const auto found = terms_.find(term - 1);
  const bool silent =
      found != terms_.end() && !found->second.abdicated && found->second.node != node;
  return silent ? found->second.node : "";
}

bool Directory::claim_generation(std::int64_t number, std::int64_t term) {
  return generations_.try_emplace(number, term).first->second == term;
}

void Directory::write_journal(std::int64_t term, const CoordinatorState& state, Instant at) {
  journals_[term] = {state, at};
}

const Directory::Journal* Directory::journal_before(std::int64_t term) const {
  const auto next = journals_.lower_bound(term);
  return next == journals_.begin() ? nullptr : &std::prev(next)->second;
}

void Directory::record_end(std::int64_t term, const RunEnd& end) { ends_.try_emplace(term, end); }

void Directory::damage_newest() {
  if (!checkpoints_.empty()) damaged_.insert(std::ranges::max(checkpoints_).name);
}

void Directory::append_spool(const std::string& node, std::uint64_t incarnation,
                             const Spooled& record) {
  spools_[{node, incarnation}].try_emplace({record.generation, record.rank, record.key.sequence},
                                           record.key.step);
}

const Directory::Spool& Directory::spool(const std::string& node, std::uint64_t incarnation) const {
  static const Spool kNone;
  const auto found = spools_.find({node, incarnation});
  return found == spools_.end() ? kNone : found->second;
}

bool Directory::store(std::int64_t, const RecordId& id, std::int64_t step) {
  return records_.try_emplace(id, step).second;
}

std::map<std::pair<std::int64_t, int>, std::int64_t> Directory::next_sequences() const {
  std::map<std::pair<std::int64_t, int>, std::int64_t> next;
  for (const auto& [id, step] : records_) {
    std::int64_t& at = next[{std::get<0>(id), std::get<1>(id)}];
    at = std::max(at, std::get<2>(id) + 1);
  }
  return next;
}

}  // namespace weft::runtime::sim

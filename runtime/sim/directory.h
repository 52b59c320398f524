// The shared run directory of a simulated cluster: what is in it has been written durably. Whether
// an access succeeds and how long it takes is the world's business.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "runtime/coordinator/coordinator.h"
#include "runtime/coordinator/election.h"

namespace weft::runtime::sim {

class Directory {
 public:
  // terms/<n>
  bool claim_term(const Claim& claim);  // exclusively
  void renew(std::int64_t term, std::int64_t beat);
  void publish(std::int64_t term, const std::string& endpoint);
  void abdicate(std::int64_t term);
  Claims claims() const;
  /// The holder of the term before, unless it gave up or is `node` itself.
  std::string silent_leader(std::int64_t term, const std::string& node) const;
  std::int64_t highest_term() const { return terms_.empty() ? 0 : terms_.rbegin()->first; }

  // generations/<n>
  bool claim_generation(std::int64_t number, std::int64_t term);  // true also when it is ours
  std::int64_t highest_generation() const {
    return generations_.empty() ? 0 : generations_.rbegin()->first;
  }

  // journals: one a term; the newest state and the time at which its writer wrote it
  void write_journal(std::int64_t term, const CoordinatorState& state, Instant at);
  struct Journal {
    CoordinatorState state;
    Instant at{};
  };
  /// Of the newest term below `term` that has one.
  const Journal* journal_before(std::int64_t term) const;
  const Journal* last_journal() const { return journal_before(INT64_MAX); }

  /// It counts while no later term is claimed.
  void record_end(std::int64_t term, const RunEnd& end);

  // ckpt/
  void commit(const Checkpoint& checkpoint) { checkpoints_.push_back(checkpoint); }
  void damage_newest();
  bool damaged(const std::string& name) const { return damaged_.contains(name); }
  const std::vector<Checkpoint>& checkpoints() const { return checkpoints_; }

  // spool files
  struct Spooled {
    std::int64_t generation = 0;
    int rank = 0;
    RecordKey key;
  };
  void append_spool(const std::string& node, std::uint64_t incarnation, const Spooled& record);
  using RecordId = std::tuple<std::int64_t, int, std::int64_t>;  // generation, rank, sequence
  using Spool = std::map<RecordId, std::int64_t>;                // -> step
  const Spool& spool(const std::string& node, std::uint64_t incarnation) const;

  // record stores, one a term, so that a deposed leader writes into its own
  bool store(std::int64_t term, const RecordId& id, std::int64_t step);  // false: it was there
  /// The next sequence wanted, by (generation, rank), over all terms.
  std::map<std::pair<std::int64_t, int>, std::int64_t> next_sequences() const;
  const std::map<RecordId, std::int64_t>& records() const { return records_; }

 private:
  std::map<std::int64_t, Claim> terms_;
  std::map<std::int64_t, std::int64_t> generations_;  // number -> term
  std::map<std::int64_t, Journal> journals_;
  std::map<std::int64_t, RunEnd> ends_;  // by term
  std::vector<Checkpoint> checkpoints_;
  std::set<std::string> damaged_;
  std::map<std::pair<std::string, std::uint64_t>, Spool> spools_;
  std::map<RecordId, std::int64_t> records_;  // union of the terms' stores -> step
};

}  // namespace weft::runtime::sim

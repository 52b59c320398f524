// What the coordinator writes into the run directory, so that a record is never there twice and
// never missing: the store's files, and which records they hold. Both belong to one instant of the
// journal.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/expected.h"
#include "runtime/coordinator_shell/journal.h"
#include "runtime/store/run_store.h"

namespace weft::runtime {

/// Threads: one.
class RecordBook {
 public:
  explicit RecordBook(std::unique_ptr<RunStore> store) : store_(std::move(store)) {}

  RunStore& store() { return *store_; }
  const StoredRecords& stored() const { return stored_; }

  /// Goes on where a journal ended: what was written after it is taken back. Errors: Io.
  Expected<void> restore(const JournalEntry& entry);
  /// The positions for the journal. Errors: Io.
  Expected<void> note(JournalEntry& entry) const;

  /// Writes one worker's message down unless it is there; `message`: JSON text, input. Errors: Io;
  /// Corrupt for what is no record.
  Expected<void> store_record(std::int64_t generation, int rank, std::int64_t sequence,
                              const std::string& message);
  /// All of (generation, rank) below `next` are stored or not wanted.
  void set_next(std::int64_t generation, int rank, std::int64_t next);
  Expected<void> truncate_after(std::int64_t step);
  /// The numbers of records of generations before this one are not needed any more.
  void forget_before(std::int64_t generation);
  /// Of the newest metrics; 0: there are none.
  long long last_step() const { return last_step_; }

 private:
  Expected<void> write(std::int64_t generation, const nlohmann::json& message);
  std::unique_ptr<RunStore> store_;
  StoredRecords stored_;
  std::int64_t last_step_ = 0;        // in the metrics
  std::int64_t last_generation_ = 0;  // that a record of is stored
};

}  // namespace weft::runtime

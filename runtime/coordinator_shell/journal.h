// What a coordinator must know to go on where another one died: its state, which records it had
// stored and how far it had written the run directory, all of one instant. One SQLite file
// a term, so that a deposed leader that wakes up writes only what nobody reads any more.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/expected.h"
#include "runtime/store/run_store.h"

namespace weft::runtime {

inline constexpr int kJournalFileVersion = 1;

/// The next sequence that is wanted, by (generation, rank).
using StoredRecords = std::map<std::pair<std::int64_t, int>, std::int64_t>;

struct JournalEntry {
  std::string state;  // of the pure coordinator, as JSON text; "": none yet
  StoredRecords stored;
  RunStore::Position files;
};

/// The writing end. Threads: one.
class Journal {
 public:
  /// A new file, with `first` in it. Errors: Io; Busy when the file is there (the term is taken).
  static Expected<std::unique_ptr<Journal>> create(const std::filesystem::path& path,
                                                   const JournalEntry& first);
  ~Journal();
  /// Replaces the entry, in one transaction: after a death at any instruction the old one or the
  /// new one is there. `what`: what led to it, kept as history; "": nothing worth it. Errors: Io.
  Expected<void> save(const JournalEntry& entry, const std::string& what);
  /// Replaces which records are stored and how long the files are, and leaves the state as it was
  /// saved last. Costs the same however wide the run is. Errors: Io.
  Expected<void> save_positions(const JournalEntry& entry);

 private:
  struct Impl;
  explicit Journal(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// The entry of a term's journal; none when that leader died before it wrote one. Errors: Corrupt;
/// Unsupported when a newer weft wrote it.
Expected<std::optional<JournalEntry>> read_journal(const std::filesystem::path& path);

}  // namespace weft::runtime

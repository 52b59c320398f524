// What the workers of a node said, kept until the coordinator has written it down: an append-only
// file of the run directory, one an agent's process. A worker's flush is answered once its records
// are here, whether there is a coordinator or not; and of an agent that is gone the coordinator
// reads the file itself. So no record is lost, whoever dies, and as each has its (generation, rank,
// sequence), none is counted twice.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/expected.h"
#include "runtime/coordinator/messages.h"

namespace weft::runtime {

/// A record with its bytes: the worker's message as JSON text.
struct SpoolRecord {
  std::int64_t generation = 0;
  int rank = 0;
  RecordKey key;
  std::string message;
};

/// spool/<node>.<incarnation>.jsonl; each line {"generation", "rank", "sequence", "step",
/// "message"}.
std::filesystem::path spool_file(const std::filesystem::path& directory, const std::string& node,
                                 std::uint64_t incarnation);

/// The writing end, an agent's. Threads: one.
class SpoolWriter {
 public:
  /// Makes the file of the node's next incarnation, which makes that number ours. Errors: Io.
  static Expected<std::unique_ptr<SpoolWriter>> open(const std::filesystem::path& directory,
                                                     const std::string& node);
  SpoolWriter(const SpoolWriter&) = delete;
  SpoolWriter& operator=(const SpoolWriter&) = delete;
  ~SpoolWriter();

  std::uint64_t incarnation() const { return incarnation_; }

  /// All or nothing; in the kernel's hands when it returns. Errors: Io.
  Expected<void> append(const SpoolRecord& record);
  /// Forces to disk what was appended. Errors: Io.
  Expected<void> sync();
  /// Everything that was appended is stored elsewhere: a long file, or at the end any, begins anew.
  /// (It stays: its name says which incarnations there were.)
  void all_stored(bool at_end);

 private:
  SpoolWriter(int file, std::uint64_t incarnation, std::filesystem::path path)
      : file_(file), incarnation_(incarnation), path_(std::move(path)) {}
  int file_;
  std::uint64_t incarnation_;
  std::filesystem::path path_;
  bool dirty_ = false;
};

/// Hands every record of a spool file to `take`, in order; a torn last line and lines that are no
/// records are passed over, the latter counted in `damaged`. No file: nothing. Errors: Io, and what
/// `take` says.
Expected<void> read_spool(const std::filesystem::path& file, long long& damaged,
                          const std::function<Expected<void>(SpoolRecord&&)>& take);

}  // namespace weft::runtime

// How a rank's report reaches whoever commits without any rank waiting: as a file inside the
// partial directory, which all ranks share anyway.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/expected.h"
#include "trainer/checkpoint/disk.h"
#include "trainer/checkpoint/shard.h"

namespace weft::trainer::checkpoint {

inline constexpr const char* kReportsFolder = "reports";

/// Leaves `report`, or why there is none, in `partial_dir` (made when missing), whole or not at
/// all. `mark` is the same on all ranks of one save and on no save that died in the same directory:
/// [A-Za-z0-9-]+. Errors: Io.
Expected<void> leave_report(const fs::path& partial_dir, const std::string& mark, int rank,
                            const Expected<ShardReport>& report, Disk& disk = Disk::real());

/// Reads the reports of one save as they come. Threads: one.
class ReportCollector {
 public:
  /// `wanted`: the ranks to wait for; others' reports are left alone.
  ReportCollector(fs::path partial_dir, std::string mark, std::vector<int> wanted)
      : directory_(std::move(partial_dir)),
        mark_(std::move(mark)),
        wanted_(wanted.begin(), wanted.end()) {}

  /// Reads what is new; true once all wanted reports are there. Never waits.
  /// Errors: that of a rank that could not write; Corrupt for a report that is none; Io.
  Expected<bool> look(Disk& disk = Disk::real());

  /// By rank.
  std::vector<ShardReport> take() { return std::move(reports_); }
  int num_read() const { return static_cast<int>(ranks_.size()); }
  /// "3, 5 and 12 more": the ranks that are still to come.
  std::string missing() const;

 private:
  fs::path directory_;
  std::string mark_;
  std::set<int> wanted_;
  std::set<int> ranks_;  // read so far
  std::vector<ShardReport> reports_;
};

}  // namespace weft::trainer::checkpoint

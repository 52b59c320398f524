// The fault matrix: one fault in one phase of a real run, what it must lead to, and how long it
// took. A table, so that every row is tested alike. Every kind is tried in every phase, but for
// those that cannot be there:
// - a message between ranks that changes, in shutdown: by then no rank sends another anything;
// - errors of a save's write, fsync and rename, in forming, compute and all-to-all: no save is
//   begun there. Those of anything else in the run directory are the rows "disk full".
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace weft::test {

class Place;
class Weft;

inline constexpr const char* kPhases[] = {"forming",    "compute", "exchange",
                                          "checkpoint", "rollout", "shutdown"};

struct FaultRow {
  const char* fault;   // of the worker: WEFT_FAULT's words; of others: "coordinator kill", ...
  const char* phase;   // one of kPhases
  bool quick = false;  // of the ordinary tests' subset
};

/// What a row came to; seconds are -1 where there was nothing to be measured.
struct FaultOutcome {
  double detected = -1;      // from the fault to the end of its generation, or the next leader
  double recovered = -1;     // to the first step of the next generation
  double took = -1;          // the whole row, beside others
  std::string problem = {};  // "": the same numbers as the undisturbed run, nobody left behind
};

const std::vector<FaultRow>& fault_rows();
FaultOutcome try_fault(const FaultRow& row);
std::string print_table(const std::vector<std::pair<FaultRow, FaultOutcome>>& table);

/// A worker that waits in the row's phase until it is let go: what is done to a run meanwhile is
/// done in that phase, however slow the machine is.
class Hold {
 public:
  /// `rank`: WEFT_FAULT's. `place` outlives it.
  Hold(const FaultRow& row, const std::string& rank, const Place& place);
  /// For whoever starts the worker.
  std::string environment() const { return environment_; }
  /// Until the worker is there, or nobody is `running` any more.
  void await(const std::filesystem::path& run, const std::function<bool()>& running) const;
  void let_go() const;

 private:
  std::filesystem::path until_;
  std::string environment_;
};
/// A generation that is held is no hang.
extern const std::vector<std::string> kNoHang;
/// Has a worker told in its log that it met its fault?
bool has_met_fault(const std::filesystem::path& run);

/// Rows of what fails below the processes: disk, clock, messages (fault_matrix_system.cpp).
std::vector<FaultRow> system_fault_rows();
bool is_system_fault(const FaultRow& row);
FaultOutcome try_system_fault(const FaultRow& row);

// What rows of any kind are made of.

std::string job_of(const Place& place, const FaultRow& row);
/// The undisturbed run's metrics, made once for each job.
const std::vector<nlohmann::json>& undisturbed(const FaultRow& row);
/// The step in whose middle the fault comes: past a checkpoint where the phase allows it.
int step_for(const FaultRow& row);
/// Seconds since the epoch of an event's time, to the millisecond.
double seconds_of(const std::string& time);
/// When the first event after `since` came whose message holds the words, or -1.
double time_of(const std::filesystem::path& run, const std::string& words, double since);
/// Says what is wrong with a run that should have ended well, or nothing.
std::string problem_of(const FaultRow& row, Weft& child, const std::filesystem::path& run);

}  // namespace weft::test

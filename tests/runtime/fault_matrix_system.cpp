// Rows of the fault matrix whose cause lies below the processes: the disk, the wall clock, and
// what comes over a socket.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>
#include <span>

#include "tests/runtime/fault_matrix.h"
#include "tests/runtime/faulty_run.h"
#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using SteadyClock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr double kHour = 3600;

/// What is done to a run, and what the row must come to.
struct Trial {
  explicit Trial(const FaultRow& of) : row(of) {}

  const FaultRow& row;
  Place place;
  fs::path run = place / "run";
  FaultyRun system{place / "system"};
  Hold hold{row, is("rollout") ? "1" : "2", place};
  FaultOutcome outcome;

  /// `held`: a worker waits in the phase. `disk_wait`: how long the run bears its directory
  /// failing.
  Weft start(bool held, const std::string& disk_wait = "4s") {
    std::vector<std::string> environment = system.environment();
    environment.push_back("TZ=UTC");
    if (held) environment.push_back(hold.environment());
    std::vector<std::string> arguments = {"run",   job_of(place, row),
                                          "--dir", run.string(),
                                          "--set", "control.disk_wait=" + disk_wait};
    if (held) arguments.insert(arguments.end(), kNoHang.begin(), kNoHang.end());
    return Weft(arguments, {}, environment);
  }
  void await_phase(Weft& child) const {
    hold.await(run, [&] { return child.running(); });
  }
  bool is(const char* phase) const { return std::string(row.phase) == phase; }
  void require(bool is_so, const std::string& what) {
    if (!is_so && outcome.problem.empty()) outcome.problem = what;
  }
};

/// The save that the phase means: "ckpt/step-000000020".
std::string save_of(const Trial& trial) {
  const int step = trial.is("rollout") ? 16 : trial.is("shutdown") ? 40 : 20;
  return fmt::format("ckpt/step-{:09}", step);
}

void expect_end(Trial& trial, Weft& child) {
  const std::string problem = problem_of(trial.row, child, trial.run);
  if (!problem.empty()) trial.outcome.problem = problem;
}

/// The run stops with the cause and the way out, and goes on once the disk is good.
void expect_stop_and_resume(Trial& trial, Weft& child, const std::string& cause) {
  const Ended ended = child.wait(120s);
  trial.require(ended.in_time && ended.code == 77,
                fmt::format("it ended with {}: {}", ended.code, ended.err));
  for (const std::string& words : {cause, std::string("weft resume ")})
    trial.require(ended.err.find(words) != std::string::npos,
                  "it did not say '" + words + "': " + ended.err);
  trial.require(eventually([&] { return child.everybody().empty(); }, 30s),
                "somebody was left behind");
  trial.system.mend();
  if (!checkpoints_of(trial.run, false).empty()) {
    const Ended verified = weft({"ckpt", "verify", trial.run.string()});
    trial.require(verified.code == 0, "a checkpoint is damaged: " + verified.out + verified.err);
  }
  Weft again({"resume", trial.run.string()});
  expect_end(trial, again);
}

FaultOutcome save_fails(const FaultRow& row, std::uint32_t calls, int error, bool for_good) {
  Trial trial(row);
  trial.system.fail(save_of(trial), calls, error, for_good ? kForGood : 1);
  Weft child = trial.start(false);
  if (for_good) {
    expect_stop_and_resume(trial, child, std::strerror(error));
  } else {
    expect_end(trial, child);
    trial.require(trial.system.num_failed() == 1, "no save failed");
  }
  const double when = trial.system.first_failed();
  const double noticed = time_of(trial.run, "ends: ", when);
  const double again = std::max(time_of(trial.run, "resumed from", when),
                                time_of(trial.run, "no checkpoint yet", when));
  if (when > 0 && noticed > 0) trial.outcome.detected = noticed - when;
  if (when > 0 && again > 0 && !for_good) trial.outcome.recovered = again - when;
  return trial.outcome;
}

/// Nothing in the run directory can be written any more: records, journal, claims, checkpoints.
FaultOutcome directory_fails(const FaultRow& row, bool for_good) {
  Trial trial(row);
  // Once longer than a silent coordinator is left alive by its agent: this one is not silent.
  Weft child = trial.start(true, for_good && trial.is("shutdown") ? "14s" : "4s");
  trial.await_phase(child);
  trial.system.fail(trial.run.string() + "/", kAnyCall, ENOSPC, kForGood);
  trial.hold.let_go();
  if (for_good) {
    expect_stop_and_resume(trial, child, "No space left");
    return trial.outcome;
  }
  eventually([&] { return trial.system.num_failed() > 0 || !child.running(); }, 30s);
  const auto until = SteadyClock::now() + 1500ms;
  eventually([&] { return SteadyClock::now() > until || !child.running(); });
  trial.system.mend();
  expect_end(trial, child);
  return trial.outcome;
}

/// Forth, then back beyond the truth, then right again.
FaultOutcome clock_jumps(const FaultRow& row) {
  Trial trial(row);
  const double begun = static_cast<double>(std::time(nullptr));
  Weft child = trial.start(true);
  trial.await_phase(child);
  trial.system.set_clock(kHour);
  trial.hold.let_go();
  const long long steps = steps_of(trial.run);
  const auto later = [&](long long more) {
    eventually([&] { return steps_of(trial.run) >= steps + more || !child.running(); });
  };
  later(4);
  trial.system.set_clock(-kHour);
  later(8);
  trial.system.set_clock(0);
  expect_end(trial, child);
  trial.require(time_of(trial.run, "ends: ", 0) < 0, "a generation ended");
  trial.require(time_of(trial.run, "is lost", 0) < 0, "a node was declared lost");
  trial.require(time_of(trial.run, "takes over", 0) < 0, "the coordinator was replaced");
  const double ended = static_cast<double>(std::time(nullptr));
  for (const json& event : lines_of(trial.run / "events.jsonl")) {
    const double time = seconds_of(event.value("time", ""));
    trial.require(time > begun - kHour - 2 && time < ended + kHour + 2,
                  "an event at " + event.value("time", ""));
  }
  for (const json& record : lines_of(trial.run / "metrics.jsonl"))
    for (const char* key : {"step_seconds", "checkpoint_stall_seconds", "checkpoint_write_seconds"})
      trial.require(record.value(key, 0.0) >= 0 && record.value(key, 0.0) < kHour / 2,
                    fmt::format("{} is {}", key, record.value(key, 0.0)));
  return trial.outcome;
}

/// Whoever receives it drops the connection, and what was on its way comes again or is missed.
FaultOutcome message_changes(const FaultRow& row, const std::string& verb) {
  Trial trial(row);
  Weft child = trial.start(true);
  trial.await_phase(child);
  trial.system.flip(verb, 2);
  trial.hold.let_go();
  expect_end(trial, child);
  return trial.outcome;
}

struct Kind {
  const char* fault;
  FaultOutcome (*try_it)(const FaultRow&);
  std::span<const char* const> phases;
};

constexpr const char* kSaves[] = {"checkpoint", "rollout", "shutdown"};  // where one is made

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {"disk full in a save",
       [](const FaultRow& row) { return save_fails(row, kWrite, ENOSPC, false); }, kSaves},
      {"EIO at a save's fsync",
       [](const FaultRow& row) { return save_fails(row, kSync, EIO, false); }, kSaves},
      {"EIO at a save's rename",
       [](const FaultRow& row) { return save_fails(row, kRename, EIO, false); }, kSaves},
      {"disk full in every save",
       [](const FaultRow& row) { return save_fails(row, kWrite, ENOSPC, true); }, kSaves},
      {"EIO at every save's fsync",
       [](const FaultRow& row) { return save_fails(row, kSync, EIO, true); }, kSaves},
      {"disk full for 1.5 s", [](const FaultRow& row) { return directory_fails(row, false); },
       kPhases},
      {"disk full for good", [](const FaultRow& row) { return directory_fails(row, true); },
       kPhases},
      {"clock jumps", clock_jumps, kPhases},
      {"message to coordinator changed",
       [](const FaultRow& row) { return message_changes(row, "coordinator"); }, kPhases},
      {"message to agent changed", [](const FaultRow& row) { return message_changes(row, "run"); },
       kPhases},
      {"message to worker changed",
       [](const FaultRow& row) { return message_changes(row, "worker"); }, kPhases}};
  return all;
}

const Kind* kind_of(const FaultRow& row) {
  const auto found = std::ranges::find_if(
      kinds(), [&](const Kind& kind) { return kind.fault == std::string(row.fault); });
  return found == kinds().end() ? nullptr : &*found;
}

}  // namespace

std::vector<FaultRow> system_fault_rows() {
  std::vector<FaultRow> rows;
  for (const Kind& kind : kinds())
    for (const char* phase : kind.phases) rows.push_back({kind.fault, phase});
  return rows;
}

bool is_system_fault(const FaultRow& row) { return kind_of(row) != nullptr; }

FaultOutcome try_system_fault(const FaultRow& row) { return kind_of(row)->try_it(row); }

}  // namespace weft::test

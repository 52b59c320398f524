// The run directory: everything a run leaves behind for people and for resume. One writer (the
// coordinator), any number of readers. JSON lines are the truth; run.sqlite is an index of them
// that can be rebuilt.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/expected.h"

namespace weft::runtime {

/// Layout of runs/<run>/ (ux 5.3): job.yaml config.resolved.yaml run.json run.sqlite metrics.jsonl
/// events.jsonl samples/<step>.jsonl traces/rank-<rank>.ring logs/worker-<rank>.log ckpt/ lock
struct RunPaths {
  std::filesystem::path root;
  std::filesystem::path job() const { return root / "job.yaml"; }
  std::filesystem::path resolved() const { return root / "config.resolved.yaml"; }
  std::filesystem::path run() const { return root / "run.json"; }
  std::filesystem::path sqlite() const { return root / "run.sqlite"; }
  std::filesystem::path metrics() const { return root / "metrics.jsonl"; }
  std::filesystem::path events() const { return root / "events.jsonl"; }
  std::filesystem::path samples() const { return root / "samples"; }
  std::filesystem::path traces() const { return root / "traces"; }
  std::filesystem::path logs() const { return root / "logs"; }
  std::filesystem::path worker_log(int rank) const;
  std::filesystem::path checkpoints() const { return root / "ckpt"; }
  std::filesystem::path lock() const { return root / "lock"; }
};

enum class RunState { Running, Finished, Failed, Stopped };
const char* to_string(RunState state);

/// The writing end. Holds an exclusive lock (flock) on the directory while it lives.
/// Threads: one.
class RunStore {
 public:
  /// Creates the directory, or opens an existing one. Errors: Busy when another process holds it
  /// (names its pid); Io.
  static Expected<std::unique_ptr<RunStore>> open(const std::filesystem::path& root,
                                                  const Clock& clock);
  ~RunStore();

  const RunPaths& paths() const;
  /// How often this directory has been opened for writing, this time included.
  int attempt() const;
  /// A forked worker closes it, or it would hold the run directory after the writer's death.
  int lock_fd() const;

  /// run.json: name, state, pid, attempt (counts opens), started, updated, recipe stage, step,
  /// steps planned, last metrics, reason. Written atomically, at most a few times a second.
  Expected<void> set_state(RunState state, const std::string& reason);
  /// Merges facts into run.json: name, steps_planned, stages, whatever status should show.
  Expected<void> describe(const nlohmann::json& facts);
  /// One flat object a step, with at least step, stage, loss (see README). Flushed each line.
  Expected<void> append_metrics(const nlohmann::json& record);
  /// {time, kind, message, ...}; kinds: started, resumed, checkpoint, evaluation, stage,
  /// skipped_checkpoint, worker_failed, finished, failed, stopped.
  Expected<void> append_event(const std::string& kind, const std::string& message,
                              const nlohmann::json& details);
  /// Replaces samples/<step>.jsonl, one object a line.
  Expected<void> write_samples(long long step, const std::vector<nlohmann::json>& samples);
  /// On resume: drops metrics and samples of steps after `step`, and a torn last line.
  Expected<void> truncate_after(long long step);

 private:
  struct Impl;
  explicit RunStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// The reading end: never locks for longer than a look, tolerates a torn last line.
/// Errors: NotFound, Io, Corrupt (a whole line that is no JSON object).
Expected<std::vector<nlohmann::json>> read_json_lines(const std::filesystem::path& path);

/// Is a writer alive? Decided by the lock, not by the pid that a dead writer left in run.json.
bool is_locked(const RunPaths& paths);

/// run.json with "alive" and an honest "state": one of running finished failed stopped, or "dead"
/// when run.json says running and nobody holds the lock. Errors: NotFound when this is no run
/// directory.
Expected<nlohmann::json> read_state(const std::filesystem::path& root);

/// read_state of every run directory directly below `parent`, newest first. Directories that are no
/// runs are left out; a run whose run.json cannot be read appears with state "unreadable" and a
/// "reason".
Expected<std::vector<nlohmann::json>> list_runs(const std::filesystem::path& parent);

/// Steps that have samples, ascending.
std::vector<long long> sample_steps(const RunPaths& paths);

/// Writes run.sqlite anew from the JSON lines: tables steps(step, stage, loss, json), events(id,
/// time, kind, message, json), samples(step, item, reward, json). Errors: Io, Corrupt.
Expected<void> rebuild_index(const RunPaths& paths);

}  // namespace weft::runtime

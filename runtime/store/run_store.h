// The run directory: everything a run leaves behind for people and for resume. One writer (the
// coordinator), any number of readers. JSON lines are the truth; run.sqlite is an index of them
// that can be rebuilt.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/expected.h"
#include "runtime/store/run_lock.h"

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
  /// What the agents of the run's nodes write: spools of their workers' records.
  std::filesystem::path spool() const { return root / "spool"; }
  /// Who leads the run, and each leader's journal.
  std::filesystem::path terms() const { return root / "terms"; }
  /// One empty-handed file a generation: its number belongs to who made it.
  std::filesystem::path generations() const { return root / "generations"; }
  /// What people ask of the run (requests.h).
  std::filesystem::path requests() const { return root / "requests"; }
  /// The control plane's keys (0600), when agents of several nodes need them.
  std::filesystem::path keys() const { return root / "keys"; }
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
  /// A run directory that was opened before and whose lock another process holds for us (the
  /// agent's, while its coordinator writes). Counts no attempt. Errors: Io, NotFound.
  static Expected<std::unique_ptr<RunStore>> join(const std::filesystem::path& root,
                                                  const Clock& clock);
  ~RunStore();
  /// Ends the writing and keeps the lock.
  static RunLock keep_lock(std::unique_ptr<RunStore> store);

  const RunPaths& paths() const;
  /// How often this directory has been opened for writing, this time included.
  int attempt() const;

  /// run.json: name, state, pid, attempt (counts opens), started, updated, recipe stage, step,
  /// steps planned, last metrics, reason. Written atomically, at most a few times a second.
  Expected<void> set_state(RunState state, const std::string& reason);
  /// Merges facts into run.json: name, steps_planned, stages, whatever status should show.
  Expected<void> describe(const nlohmann::json& facts);
  /// One flat object a step, with at least step, stage, loss (see README). Flushed each line.
  Expected<void> append_metrics(const nlohmann::json& record);
  /// The same for a step between those that are there; nothing when it is there itself.
  Expected<void> insert_metrics(const nlohmann::json& record);
  /// {time, kind, message, ...}; kinds: started, resumed, checkpoint, evaluation, stage,
  /// skipped_checkpoint, worker_failed, finished, failed, stopped.
  Expected<void> append_event(const std::string& kind, const std::string& message,
                              const nlohmann::json& details);
  /// Replaces samples/<step>.jsonl, one object a line.
  Expected<void> write_samples(long long step, const std::vector<nlohmann::json>& samples);
  /// On resume: drops metrics and samples of steps after `step`, and a torn last line.
  Expected<void> truncate_after(long long step);
  /// Of the newest metrics; 0: there are none.
  long long last_step() const;

  /// How far the files have been written.
  struct Position {
    std::uint64_t metrics = 0, events = 0;  // bytes
  };
  Expected<Position> position() const;
  /// Takes back what was written after `position` (by a writer that died before it had noted it)
  /// and puts the files into new inodes: a deposed writer that wakes up appends to what nobody
  /// reads. What is shorter already stays as it is.
  Expected<void> rewind(const Position& position);

 private:
  struct Impl;
  explicit RunStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// The reading end: never locks for longer than a look, tolerates a torn last line.
/// Errors: NotFound, Io, Corrupt (a whole line that is no JSON object).
Expected<std::vector<nlohmann::json>> read_json_lines(const std::filesystem::path& path);

/// Does a `weft run` hold the directory? Decided by the lock, not by the pid that a dead writer
/// left in run.json. Agents hold no lock: is_alive (lease.h) asks after both.
bool is_locked(const RunPaths& paths);

/// run.json with "alive" and an honest "state": one of running finished failed stopped, or "dead"
/// when run.json says running, nobody holds the lock and no agent renews a lease (lease.h). Errors:
/// NotFound when this is no run directory.
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

// The run directory: everything a run leaves behind for people and for resume. One writer (the
// coordinator), any number of readers. JSON lines are the truth; run.sqlite is an index of them that
// can be rebuilt.
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
/// events.jsonl samples/<step>.jsonl logs/worker-<rank>.log ckpt/ lock
struct RunPaths {
  std::filesystem::path root;
  std::filesystem::path job() const { return root / "job.yaml"; }
  std::filesystem::path resolved() const { return root / "config.resolved.yaml"; }
  std::filesystem::path run() const { return root / "run.json"; }
  std::filesystem::path sqlite() const { return root / "run.sqlite"; }
  std::filesystem::path metrics() const { return root / "metrics.jsonl"; }
  std::filesystem::path events() const { return root / "events.jsonl"; }
  std::filesystem::path samples() const { return root / "samples"; }
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

  /// run.json: name, state, pid, attempt (counts opens), started, updated, recipe stage, step,
  /// steps planned, last metrics, reason. Written atomically, at most a few times a second.
  Expected<void> set_state(RunState state, const std::string& reason);
  /// One flat object a step, with at least step, stage, loss (see README). Flushed each line.
  Expected<void> append_metrics(const nlohmann::json& record);
  /// {time, kind, message, ...}; kinds: started, resumed, checkpoint, evaluation, stage, skipped_checkpoint,
  /// worker_died, finished, failed, stopped.
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

/// The reading end: never locks, tolerates a torn last line.
Expected<std::vector<nlohmann::json>> read_json_lines(const std::filesystem::path& path);

}  // namespace weft::runtime

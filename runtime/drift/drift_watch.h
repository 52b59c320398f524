// A run compares itself with the plan, once, when its first steps are over: beside the run, in a
// thread at the lowest priority, from the files that its ranks write anyway.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>

#include "runtime/drift/drift.h"
#include "runtime/job/job.h"

namespace weft::runtime {

/// Where a description of this machine is kept for all its runs: weft cluster probe -o there.
/// $XDG_CONFIG_HOME/weft/this-host.yaml, or below ~/.config; "" without a home.
std::filesystem::path kept_cluster();
/// The same, or "" where there is no such file.
std::filesystem::path known_cluster();

/// Threads: one; it starts one of its own.
class DriftWatch {
 public:
  /// Null when the run knows no cluster, or records no steps: then nothing is said.
  static std::unique_ptr<DriftWatch> of(const Job& job, std::filesystem::path traces);
  ~DriftWatch() = default;

  /// The newest step whose metrics came; the comparison begins some steps after the first.
  void look(long long last_step);
  /// What came of it, once: the comparison, or why there is none (a cluster file that cannot be
  /// used, another layout than it plans for).
  std::optional<Expected<Drift>> take();
  const std::filesystem::path& cluster() const { return cluster_; }

 private:
  DriftWatch(const Job& job, std::filesystem::path cluster, std::filesystem::path traces);
  void compare_now();

  Job job_;
  std::filesystem::path cluster_, traces_;
  long long first_step_ = -1;
  bool begun_ = false, taken_ = false;
  std::optional<Expected<Drift>> found_;
  std::atomic<bool> done_{false};
  std::jthread thread_;  // the last: it ends before what it uses
};

}  // namespace weft::runtime

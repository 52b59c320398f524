// What the simulated workers of a job do with their time. The ranks of a generation step together,
// as they do where each step ends with a world-wide sum.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace weft::runtime::sim {

/// Pure: the same questions have the same answers.
class WorkerModel {
 public:
  virtual ~WorkerModel() = default;

  virtual std::int64_t steps() const = 0;  // of the whole run
  /// From the process's start to its hello, and from its assignment to its first step.
  virtual Duration starting_time(std::int64_t generation, int rank) const = 0;
  virtual Duration loading_time(std::int64_t generation, int rank) const = 0;
  /// Of step `step` (1, 2, ...), all ranks together.
  virtual Duration step_time(std::int64_t generation, std::int64_t step) const = 0;
  /// Is a checkpoint written after this step, and how long does that hold the ranks up?
  virtual bool saves_after(std::int64_t step) const = 0;
  virtual Duration saving_time(std::int64_t step) const = 0;
  /// Is the state after this step copied into the nodes' memory, and how long does that take beside
  /// the steps?
  virtual bool copies_after(std::int64_t /*step*/) const { return false; }
  virtual Duration copying_time(std::int64_t /*step*/) const { return Duration::zero(); }
};

/// Equal steps, a checkpoint and a copy in memory every so many.
class EvenModel final : public WorkerModel {
 public:
  std::int64_t num_steps = 100;
  std::int64_t save_every = 10;
  std::int64_t copy_every = 0;  // 0: none
  Duration step = std::chrono::milliseconds(500);
  Duration starting = std::chrono::milliseconds(300);
  Duration loading = std::chrono::milliseconds(500);
  Duration saving = std::chrono::milliseconds(200);
  Duration copying = std::chrono::milliseconds(300);

  std::int64_t steps() const override { return num_steps; }
  Duration starting_time(std::int64_t, int) const override { return starting; }
  Duration loading_time(std::int64_t, int) const override { return loading; }
  Duration step_time(std::int64_t, std::int64_t) const override { return step; }
  bool saves_after(std::int64_t s) const override { return s % save_every == 0; }
  Duration saving_time(std::int64_t) const override { return saving; }
  bool copies_after(std::int64_t s) const override { return copy_every > 0 && s % copy_every == 0; }
  Duration copying_time(std::int64_t) const override { return copying; }
};

}  // namespace weft::runtime::sim

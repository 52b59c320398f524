// Walks one rank's program: the only place where a schedule turns into work.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "dualpipe/merge_phases.h"
#include "dualpipe/recorder.h"
#include "dualpipe/schedule.h"
#include "dualpipe/stage.h"

namespace weft::dualpipe {

class Executor {
 public:
  struct Options {
    bool overlap = true;  // false: an FB action runs F, then B; the same numbers
  };

  /// stages[s] for each stage this position holds, null elsewhere (size = num_stages).
  /// `pipeline`: the positions of this lane, rank = position; of the same transport as the groups
  /// in which the stages exchange, so that a wait there moves its messages too. All references must
  /// outlive the executor.
  Executor(std::vector<Stage*> stages, StepEnd* step_end, comm::Communicator& pipeline,
           Options options);

  /// Runs the actions in order. After an error the executor is not to be used again.
  /// Errors: those of the stages and of the communicator, with the action put before them.
  Expected<void> run(std::span<const Action> program);

  /// Index of the action being run, readable from another thread (for "who waited for whom").
  int position() const;
  /// What is done, and where this rank stands, goes there; null: nowhere. Must outlive the runs.
  void set_recorder(StepRecorder* recorder);
  /// Records that one run of the program writes at most (2 more for its pass and its step).
  std::size_t records_of(std::span<const Action> program) const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace weft::dualpipe

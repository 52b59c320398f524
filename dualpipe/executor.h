// Walks one rank's program: the only place where a schedule turns into work.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "dualpipe/schedule.h"
#include "dualpipe/stage.h"

namespace weft::dualpipe {

struct PhaseStep {
  bool backward = false;
  Phase phase;
  friend bool operator==(const PhaseStep&, const PhaseStep&) = default;
};

/// The merged order of an overlapped pair. Per layer pair: combine(B), attention(F), experts(B),
/// dispatch(F), dispatch(B), experts(W), experts(F), attention(B), attention(W), combine(F); layers
/// without an expert exchange simply lack those phases. Pure.
/// Source: DeepSeek-V3 technical report, section 3.2.1, and its published profile.
std::vector<PhaseStep> merge_phases(std::span<const Phase> forward,
                                    std::span<const Phase> backward);

/// Where a finished action went in time; filled only when a recorder is given.
struct Span {
  Action action;
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

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
  void set_recorder(std::vector<Span>* recorder);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace weft::dualpipe

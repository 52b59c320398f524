// When the next checkpoint is due: every so many steps, or as often as it pays. Pure: what took how
// long is handed in.
#pragma once

#include <optional>
#include <string>

namespace weft::runtime {

struct PaceInputs {
  double stall_seconds = 0;  // training stands still for one checkpoint
  double write_seconds = 0;  // from its copy to its commit
  double step_seconds = 0;
  double failure_seconds = 0;  // mean time between failures of the whole run
};

/// Steps between checkpoints that lose the least time: Daly's optimum for a stall of so long, but
/// never sooner than the one before is written. At least 1. Source: J. T. Daly, A higher order
/// estimate of the optimum checkpoint interval (2006), equation 37; its first term is Young's
/// (1974).
long long best_checkpoint_interval(const PaceInputs& inputs);

/// What a run of so many ranks may expect before it has seen a failure: one in 50,000 rank hours.
/// Source: The Llama 3 Herd of Models (arXiv:2407.21783) section 3.3.4: 419 unexpected
/// interruptions in 54 days on 16,384 GPUs.
double expected_failure_seconds(int ranks);

class CheckpointPace {
 public:
  struct Options {
    bool automatic = false;
    long long every_steps = 0;   // 0: never; automatic: until something is measured
    double failure_seconds = 0;  // what is expected; weighs as much as one failure seen
    long long failures = 0;      // of this run so far
    long long steps = 0;         // done so far
  };
  CheckpointPace() = default;
  explicit CheckpointPace(const Options& options);

  /// Is the state after `step` to be saved?
  bool is_due(long long step) const;
  long long every_steps() const { return every_; }

  void began(long long step, double stall_seconds);
  void wrote(double write_seconds) { measured_.write_seconds = write_seconds; }
  /// A step took so long. Returns what to tell people when the interval has changed by a third.
  std::optional<std::string> stepped(double step_seconds);

 private:
  Options options_;
  long long every_ = 0;
  long long told_ = 0;   // the interval that people know of
  long long timed_ = 0;  // steps
  long long saved_ = 0;  // step
  PaceInputs measured_;
  bool has_stall_ = false;
};

}  // namespace weft::runtime

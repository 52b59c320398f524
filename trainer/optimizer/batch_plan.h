// How many sequences each step of a training stage takes: one number, or a ramp from a small batch
// to the full one over so many tokens (DeepSeek-V3 report, section 4.2: 3,072 to 15,360 sequences
// over the first 469 billion tokens).
#pragma once

#include <vector>

#include "base/expected.h"

namespace weft::trainer::optimizer {

struct BatchRamp {
  int batch = 1;            // sequences a step, once the ramp is over
  int start = 0;            // at the first step; 0: no ramp
  double tokens = 0;        // that the ramp takes
  int sequence_tokens = 1;  // of each sequence
};

/// A pure function of the step, so that any rank knows the place of every sequence in the stage.
/// Threads: any; never changes.
class BatchPlan {
 public:
  /// Linear in the tokens before the step, rounded to whole sequences.
  /// Errors: InvalidArgument for counts below 1, a start above `batch`, or a ramp of more than a
  /// million steps.
  static Expected<BatchPlan> make(const BatchRamp& ramp);

  int batch(long long step) const;
  /// Of all steps before this one.
  long long sequences_before(long long step) const;
  double tokens_before(long long step) const;
  /// The first step that begins with at least so many tokens behind it.
  long long first_step_with(double tokens) const;

 private:
  explicit BatchPlan(const BatchRamp& ramp) : ramp_(ramp) {}
  long long ramp_steps() const { return static_cast<long long>(before_.size()) - 1; }

  BatchRamp ramp_;
  std::vector<long long> before_{0};  // sequences before each step of the ramp, and after the last
};

}  // namespace weft::trainer::optimizer

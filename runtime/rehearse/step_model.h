// How long a step takes: the real schedule on its timeline, with slow positions where devices are
// slow. All lanes of an expert group wait for each other in every exchange, so that one slow device
// makes its position slow in each pipeline that runs through the group.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "dualpipe/timeline.h"
#include "scheduler/placement.h"

namespace weft::runtime {

/// Seconds. Passes are those of one micro-batch through one stage.
struct StepCosts {
  double forward = 0.05, backward_input = 0.05, weight = 0.05;
  double pair = 0.12;   // an overlapped forward and backward
  double step_end = 0;  // reductions and update
  double total = 0;     // of a step, when it is known better than by these (unequal stages); 0: not
  double expert_share = 0.5;  // of a step: what busy experts make longer
  std::string basis;          // where the figures come from
};

class StepModel {
 public:
  /// Errors: InvalidArgument for a size that the schedule does not have.
  static Expected<StepModel> create(const scheduler::Layout& layout, const StepCosts& costs);

  /// A whole step when position p computes factors[p] times as long. Remembers what it was asked.
  double seconds(std::span<const double> factors);
  /// Without any slow position.
  double seconds() const { return ideal_; }
  /// What the timeline is stretched by to be as long as the ideal step without its end.
  double scale() const { return scale_; }
  const StepCosts& costs() const { return costs_; }
  const dualpipe::Schedule& schedule() const { return schedule_; }
  /// Of the ideal step, in seconds.
  const dualpipe::Timeline& timeline() const { return timeline_; }

 private:
  StepModel() = default;
  Expected<dualpipe::Timeline> run(std::span<const double> factors) const;

  StepCosts costs_;
  dualpipe::Schedule schedule_;
  dualpipe::Timeline timeline_;
  double ideal_ = 0;
  double scale_ = 1;  // StepCosts::total over what the passes alone add up to
  std::map<std::vector<int>, double> known_;  // by factors in thousandths
};

}  // namespace weft::runtime

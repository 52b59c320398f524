#include "trainer/optimizer/batch_plan.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace weft::trainer::optimizer {
namespace {

constexpr std::size_t kRampStepsMax = 1'000'000;

int batch_at(const BatchRamp& ramp, long long sequences) {
  const double tokens = static_cast<double>(sequences) * ramp.sequence_tokens;
  const double done = std::min(1.0, tokens / ramp.tokens);
  return static_cast<int>(std::lround(ramp.start + done * (ramp.batch - ramp.start)));
}

}  // namespace

Expected<BatchPlan> BatchPlan::make(const BatchRamp& ramp) {
  if (ramp.batch < 1 || ramp.sequence_tokens < 1)
    return fail(Code::InvalidArgument, "a step takes at least one sequence of one token");
  BatchPlan plan(ramp);
  if (ramp.start == 0) return plan;
  if (ramp.start < 1 || ramp.start > ramp.batch || !(ramp.tokens > 0))
    return fail(Code::InvalidArgument,
                "a batch ramp goes from 1 or more sequences up to the batch of " +
                    std::to_string(ramp.batch) + ", over some tokens; not from " +
                    std::to_string(ramp.start));
  while (static_cast<double>(plan.before_.back()) * ramp.sequence_tokens < ramp.tokens) {
    if (plan.before_.size() > kRampStepsMax)
      return fail(Code::InvalidArgument, "a batch ramp of more than a million steps");
    plan.before_.push_back(plan.before_.back() + batch_at(ramp, plan.before_.back()));
  }
  return plan;
}

int BatchPlan::batch(long long step) const {
  if (step >= ramp_steps()) return ramp_.batch;
  const auto at = static_cast<std::size_t>(step);
  return static_cast<int>(before_[at + 1] - before_[at]);
}

long long BatchPlan::sequences_before(long long step) const {
  if (step < ramp_steps()) return before_[static_cast<std::size_t>(step)];
  return before_.back() + (step - ramp_steps()) * ramp_.batch;
}

double BatchPlan::tokens_before(long long step) const {
  return static_cast<double>(sequences_before(step)) * ramp_.sequence_tokens;
}

long long BatchPlan::first_step_with(double tokens) const {
  const double sequences = std::ceil(tokens / ramp_.sequence_tokens);
  if (sequences <= static_cast<double>(before_.back())) {
    const auto at = std::lower_bound(before_.begin(), before_.end(), sequences);
    return at - before_.begin();
  }
  const double left = sequences - static_cast<double>(before_.back());
  return ramp_steps() + static_cast<long long>(std::ceil(left / ramp_.batch));
}

}  // namespace weft::trainer::optimizer

#include "runtime/drift/step_period.h"

#include <algorithm>
#include <vector>

namespace weft::runtime {

using dualpipe::MeasuredStep;
using dualpipe::RankStep;
using dualpipe::Record;

namespace {

constexpr std::size_t kStretch = 8;

/// So many steps, one after the other, of one stage?
bool follow(std::span<const MeasuredStep> steps) {
  return steps.back().step - steps.front().step == static_cast<long long>(steps.size()) - 1 &&
         steps.front().stage == steps.back().stage;
}

double quantile(std::vector<double>& values, double share) {
  const auto at = values.begin() +
                  static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1) + 0.5);
  std::ranges::nth_element(values, at);
  return *at;
}

const Record* training_pass_of(const MeasuredStep& step, const RankStep& rank) {
  const int pass = dualpipe::training_pass(step);
  for (const Record& record : rank.recorded.records)
    if (record.what == Record::What::Pass && record.pass == pass) return &record;
  return nullptr;
}

}  // namespace

StepPeriod step_period(std::span<const MeasuredStep> steps) {
  StepPeriod period;
  if (steps.empty()) return period;
  std::vector<double> stretches;
  for (std::size_t end = steps.size(); end > kStretch; end -= kStretch) {
    const auto stretch = steps.subspan(end - 1 - kStretch, kStretch + 1);
    if (stretch.back().stage != steps.back().stage || !follow(stretch)) break;
    stretches.push_back(static_cast<double>(stretch.back().begin_ns - stretch.front().begin_ns) *
                        1e-9 / kStretch);
  }
  if (stretches.empty()) return period;
  period.steps = static_cast<int>(stretches.size() * kStretch);
  period.median = quantile(stretches, 0.5);
  period.low = quantile(stretches, 0.25);
  period.high = quantile(stretches, 0.75);
  return period;
}

double seconds_between_passes(std::span<const MeasuredStep> steps) {
  struct Last {
    long long step = -1;
    std::int64_t begin_ns = 0, end_ns = 0;
  };
  Last before;
  std::vector<double> seconds;
  for (const MeasuredStep& step : steps) {
    Last last{step.step};
    for (const RankStep& rank : step.ranks)
      if (const Record* pass = training_pass_of(step, rank)) {
        last.begin_ns = std::max(last.begin_ns, pass->begin_ns);
        last.end_ns = std::max(last.end_ns, pass->end_ns);
      }
    if (before.end_ns > 0 && last.end_ns > 0 && before.step == step.step - 1)
      seconds.push_back(1e-9 * static_cast<double>(last.begin_ns - before.end_ns));
    before = last;
  }
  return seconds.empty() ? 0 : quantile(seconds, 0.5);
}

}  // namespace weft::runtime

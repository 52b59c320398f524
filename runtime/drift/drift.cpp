#include "runtime/drift/drift.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "runtime/drift/phase_medians.h"
#include "runtime/drift/step_period.h"

namespace weft::runtime {

using dualpipe::MeasuredStep;
using dualpipe::PhaseStep;

namespace {

// A rank's phase this much above its median peer is worth a word; NVRx takes the same threshold.
constexpr double kSlow = 1 / 0.75;

using Sums = std::map<std::pair<std::string, int>, PhaseDrift>;

/// An exchange is as long as its slowest peer, who is not this rank.
bool waits(const std::string& phase) {
  return phase.starts_with("dispatch") || phase.starts_with("combine");
}

void add_phases(Drift& drift) {
  std::map<std::string, PhaseDrift> phases;
  std::map<std::string, std::vector<double>> ratios;
  for (const PhaseDrift& one : drift.ranks) {
    PhaseDrift& sum = phases[one.phase];
    sum.phase = one.phase;
    sum.rank = -1;
    sum.count += one.count;
    sum.predicted += one.predicted;
    sum.measured += one.measured;
    if (one.predicted > 0) ratios[one.phase].push_back(one.ratio());
  }
  for (auto& [name, sum] : phases) drift.phases.push_back(sum);
  for (auto& [name, all] : ratios) std::ranges::nth_element(all, all.begin() + all.size() / 2);
  for (const PhaseDrift& one : drift.ranks) {
    if (!ratios.contains(one.phase) || waits(one.phase)) continue;
    const std::vector<double>& all = ratios[one.phase];
    const double median = all[all.size() / 2];
    if (median <= 0 || one.ratio() / median <= drift.slowest_ratio) continue;
    drift.slowest_ratio = one.ratio() / median;
    drift.slowest_rank = one.rank;
    drift.slowest_phase = one.phase;
  }
}

/// Of few steps only their own lengths are known, not what is between them.
void set_measured(Drift& drift, const StepPeriod& period, std::vector<double> seconds) {
  std::ranges::sort(seconds);
  const auto at = [&](double share) {
    return seconds[static_cast<std::size_t>(share * static_cast<double>(seconds.size()))];
  };
  const bool few = period.steps == 0;
  drift.step_measured = few ? at(0.5) : period.median;
  drift.step_low = few ? at(0.25) : period.low;
  drift.step_high = few ? at(0.75) : period.high;
}

}  // namespace

Expected<Drift> compare(const std::vector<MeasuredStep>& steps, const PhaseSeconds& predicted,
                        double step_predicted) {
  Sums sums;
  const std::vector<PhaseMedian> medians = phase_medians(
      steps,
      [&](const std::string& name, int rank, int stage, const PhaseStep& step, bool overlapped) {
        PhaseDrift& sum = sums[{name, rank}];
        sum.phase = name;
        sum.rank = rank;
        ++sum.count;
        sum.predicted += predicted(stage, step, overlapped);
      });
  std::vector<double> seconds;
  for (const MeasuredStep& step : steps)
    if (dualpipe::training_pass(step) >= 0 && step.closed) seconds.push_back(step.seconds());
  if (sums.empty())
    return fail(Code::NotFound,
                "no whole training step with phases is recorded; the run's newest attempt needs "
                "trace.steps above 0 "
                "and at least one step");
  for (const PhaseMedian& one : medians)
    sums[{one.phase, one.rank}].measured += one.seconds * one.count;
  Drift drift;
  for (auto& [key, sum] : sums) drift.ranks.push_back(sum);
  add_phases(drift);
  drift.step_predicted = step_predicted;
  set_measured(drift, step_period(steps), std::move(seconds));
  return drift;
}

Expected<Drift> compare(const std::vector<MeasuredStep>& steps, const scheduler::Work& work,
                        const scheduler::Cluster& cluster) {
  WEFT_TRY_ASSIGN(const scheduler::Placement placement,
                  scheduler::place(work.layout, work.model.layers, work.model.next_token));
  const std::vector<scheduler::StageBlocks> stages = scheduler::stage_blocks(work.model, placement);
  WEFT_TRY_ASSIGN(const scheduler::StepTime time, scheduler::step_time(work, cluster));
  return compare(
      steps,
      [&](int stage, const PhaseStep& step, bool overlapped) {
        if (stage >= static_cast<int>(stages.size()) || step.phase.layer >= stages[stage].layers())
          return 0.0;
        return scheduler::phase_seconds(work, cluster, stages[stage], step, overlapped);
      },
      time.total);
}

namespace {

/// "0.013", "2.83", "37.5", "377": no exponent, and a microsecond at the least.
std::string three_digits(double value) {
  return fmt::format("{:.{}f}", value,
                     value < 0.9995  ? 3
                     : value < 9.995 ? 2
                     : value < 99.95 ? 1
                                     : 0);
}

}  // namespace

std::string describe(const Drift& drift) {
  std::string text =
      fmt::format("{:<22} {:>12} {:>12} {:>9}\n", "PHASE", "PREDICTED", "MEASURED", "RATIO");
  const auto line = [&](const std::string& name, double predicted, double measured) {
    text += fmt::format("{:<22} {:>9} ms {:>9} ms {:>9}\n", name, three_digits(predicted * 1e3),
                        three_digits(measured * 1e3),
                        predicted > 0 ? three_digits(measured / predicted) : "-");
  };
  for (const PhaseDrift& phase : drift.phases)
    line(phase.phase, phase.predicted / std::max(1, phase.count),
         phase.measured / std::max(1, phase.count));
  line("step", drift.step_predicted, drift.step_measured);
  if (drift.slowest_ratio > kSlow)
    text += fmt::format("rank {} takes {:.2f} times as long as its median peer in {}\n",
                        drift.slowest_rank, drift.slowest_ratio, drift.slowest_phase);
  return text;
}

std::string summary(const Drift& drift) {
  std::string text = fmt::format("the step was predicted to take {:.3g} ms and takes {:.3g} ms",
                                 drift.step_predicted * 1e3, drift.step_measured * 1e3);
  if (drift.step_predicted > 0)
    text += fmt::format(" ({:+.0f} %)", 100 * (drift.step_measured / drift.step_predicted - 1));
  const auto off = std::ranges::max_element(drift.phases, {}, [](const PhaseDrift& phase) {
    return std::abs(phase.measured - phase.predicted);
  });
  if (off != drift.phases.end() && off->predicted > 0)
    text +=
        fmt::format("; most of it in {}: {:.2f} times the prediction", off->phase, off->ratio());
  if (drift.slowest_ratio > kSlow)
    text += fmt::format("; rank {} takes {:.2f} times as long as its median peer in {}",
                        drift.slowest_rank, drift.slowest_ratio, drift.slowest_phase);
  return text;
}

}  // namespace weft::runtime

#include "runtime/worker/checkpoint_pace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/units.h"

namespace weft::runtime {
namespace {

constexpr long long kFirstMeasurement =
    10;  // steps until an automatic pace saves for the first time
constexpr long long kLongest = 1'000'000;

Duration duration(double s) { return Duration(static_cast<long long>(1e9 * std::min(s, 1e9))); }

}  // namespace

long long best_checkpoint_interval(const PaceInputs& inputs) {
  const double stall = std::max(inputs.stall_seconds, 1e-6), mean = inputs.failure_seconds;
  double best = mean;  // a stall longer than that: save whenever one has been survived
  if (stall < 2 * mean) {
    const double ratio = stall / (2 * mean);
    best = std::sqrt(2 * stall * mean) * (1 + std::sqrt(ratio) / 3 + ratio / 9) - stall;
  }
  const double steps = std::max(best, inputs.write_seconds) / std::max(inputs.step_seconds, 1e-9);
  return static_cast<long long>(std::clamp(std::round(steps), 1.0, double{kLongest}));
}

double expected_failure_seconds(int ranks) { return 50'000.0 * 3600 / std::max(ranks, 1); }

CheckpointPace::CheckpointPace(const Options& options)
    : options_(options), every_(options.every_steps), saved_(options.steps) {
  if (options_.automatic)
    every_ = every_ == 0 ? kFirstMeasurement : std::min(every_, kFirstMeasurement);
}

bool CheckpointPace::is_due(long long step) const {
  if (!options_.automatic) return every_ > 0 && step % every_ == 0;
  return step >= saved_ + every_;
}

void CheckpointPace::began(long long step, double stall_seconds) {
  saved_ = step;
  measured_.stall_seconds = stall_seconds;
  has_stall_ = true;
}

std::optional<std::string> CheckpointPace::stepped(double step_seconds) {
  ++options_.steps;
  double& mean = measured_.step_seconds;
  mean += (step_seconds - mean) / static_cast<double>(std::min(++timed_, 16LL));
  if (!options_.automatic || !has_stall_ || measured_.write_seconds == 0) return std::nullopt;
  const double trained = static_cast<double>(options_.steps) * mean;
  measured_.failure_seconds =
      (options_.failure_seconds + trained) / (1 + static_cast<double>(options_.failures));
  every_ = best_checkpoint_interval(measured_);
  if (3 * std::abs(every_ - told_) <= told_) return std::nullopt;
  told_ = every_;
  return fmt::format(
      "a checkpoint every {} steps from here on: a step takes {}, a checkpoint holds it up for {} "
      "and is written in {}; one failure in {} is expected ({} seen)",
      every_, format_duration(duration(mean)), format_duration(duration(measured_.stall_seconds)),
      format_duration(duration(measured_.write_seconds)),
      format_duration(duration(measured_.failure_seconds)), options_.failures);
}

}  // namespace weft::runtime

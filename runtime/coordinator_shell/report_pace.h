// How long the coordinator takes over a report, from its bytes to its answer on the way: the
// measure of a control plane that keeps up. Constant memory.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "base/clock.h"

namespace weft::runtime {

/// A histogram whose bounds grow by an eighth each: shares are right within that.
class ReportPace {
 public:
  void add(Duration took) {
    const double micros = std::max(1.0, static_cast<double>(took.count()) * 1e-3);
    const double at = std::log(micros) / std::log(kGrowth);
    ++buckets_[static_cast<std::size_t>(std::min(at, static_cast<double>(kBuckets - 1)))];
    ++count_;
    worst_ = std::max(worst_, took);
  }
  void clear() { *this = {}; }

  long long count() const { return count_; }
  /// That `share` of the reports took no longer than; 0 without any.
  double milliseconds(double share) const {
    const auto wanted = static_cast<long long>(std::ceil(share * static_cast<double>(count_)));
    long long sum = 0;
    for (std::size_t i = 0; i < kBuckets && count_ > 0; ++i)
      if ((sum += buckets_[i]) >= wanted)
        return std::min(1e-3 * std::pow(kGrowth, static_cast<double>(i + 1)), worst_milliseconds());
    return 0;
  }
  double worst_milliseconds() const { return static_cast<double>(worst_.count()) * 1e-6; }

 private:
  static constexpr double kGrowth = 1.125;
  static constexpr std::size_t kBuckets = 160;  // up to 150 s
  std::array<long long, kBuckets> buckets_{};
  long long count_ = 0;
  Duration worst_{};
};

}  // namespace weft::runtime

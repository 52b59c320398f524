// An exponential moving average of parameters that costs the training path nothing but its last
// remains: a thread of the lowest priority computes it while the next step runs forward and
// backward. Source: DeepSeek-V3 report, section 3.2.3 (kept off the device, updated
// asynchronously).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "trainer/real.h"

namespace weft::trainer::optimizer {

/// Threads: one calls. The values belong to the caller, stay where they are, and must not change
/// between begin() and finish(); every element is a function of its own values only, so no number
/// depends on who computed it or when.
class ParameterAverage {
 public:
  /// average = decay * average + (1 - decay) * value, once a begin().
  ParameterAverage(std::vector<std::span<const Real>> values, double decay);
  ~ParameterAverage();
  ParameterAverage(const ParameterAverage&) = delete;
  ParameterAverage& operator=(const ParameterAverage&) = delete;

  /// The average is the values as they are.
  void restart();
  /// The values have changed: goes to work and returns at once.
  void begin();
  /// Afterwards the values may change and the averages can be read. Does what the thread has not
  /// come to, so that it never waits for a thread that gets no core for more than one piece.
  void finish();

  /// Of tensor i; between finish() and begin().
  std::span<Real> average(std::size_t i) { return averages_[i]; }

 private:
  struct Piece {
    std::size_t tensor, begin, end;
  };
  void work();
  void run();

  std::vector<std::span<const Real>> values_;
  std::vector<std::vector<Real>> averages_;
  double decay_;
  std::vector<Piece> pieces_;
  std::atomic<std::size_t> next_, done_;  // pieces
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace weft::trainer::optimizer

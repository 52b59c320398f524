// Time as something handed in, so that a whole cluster can run on simulated time.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

namespace weft {

using Duration = std::chrono::nanoseconds;
/// Nanoseconds on a monotonic axis whose origin means nothing.
using Instant = std::chrono::time_point<std::chrono::steady_clock, Duration>;
/// Nanoseconds since 1970-01-01 UTC, for what people read.
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant now() const = 0;
  virtual WallTime wall_now() const = 0;
  /// Returns once now() >= then; at once when that has been.
  virtual void sleep_until(Instant then) = 0;
};

class SystemClock final : public Clock {
 public:
  Instant now() const override { return std::chrono::steady_clock::now(); }
  WallTime wall_now() const override { return std::chrono::system_clock::now(); }
  void sleep_until(Instant then) override { std::this_thread::sleep_until(then); }
};

/// Stands still until it is told to move. Not thread safe.
class SimClock final : public Clock {
 public:
  Instant now() const override { return now_; }
  WallTime wall_now() const override { return WallTime(now_.time_since_epoch()); }
  void advance(Duration by) { now_ += by; }
  void sleep_until(Instant then) override { now_ = std::max(now_, then); }

 private:
  Instant now_{};
};

inline double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace weft

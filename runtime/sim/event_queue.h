// What will happen in simulated time: callbacks by moment, those of one moment in the order in
// which they were put in. The queue is the only clock of a simulated cluster.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "base/clock.h"

namespace weft::runtime {

inline Duration from_seconds(double s) { return Duration(static_cast<std::int64_t>(s * 1e9)); }

}  // namespace weft::runtime

namespace weft::runtime::sim {

/// Simulated time as people read it: begins at `start`.
class SimulatedClock final : public Clock {
 public:
  explicit SimulatedClock(WallTime start) : start_(start) {}
  Instant now() const override { return now_; }
  WallTime wall_now() const override { return start_ + now_.time_since_epoch(); }
  void sleep_until(Instant then) override { now_ = std::max(now_, then); }

 private:
  WallTime start_;
  Instant now_{};
};

class EventQueue {
 public:
  explicit EventQueue(SimulatedClock& clock) : clock_(clock) {}

  Instant now() const { return clock_.now(); }
  void at(Instant when, std::function<void()> what) {
    events_.push({std::max(when, now()), next_++, std::move(what)});
  }
  void after(Duration delay, std::function<void()> what) { at(now() + delay, std::move(what)); }
  bool empty() const { return events_.empty(); }
  /// When the next one happens. Requires !empty().
  Instant next() const { return events_.top().when; }
  /// Moves the clock to the next event and does it. Requires !empty().
  void step() {
    // Taken out first: it may put others in.
    std::function<void()> what = std::move(const_cast<Item&>(events_.top()).what);
    clock_.sleep_until(events_.top().when);
    events_.pop();
    what();
  }

 private:
  struct Item {
    Instant when;
    std::uint64_t number = 0;
    std::function<void()> what;
    bool operator<(const Item& other) const {
      return when != other.when ? when > other.when : number > other.number;
    }
  };
  SimulatedClock& clock_;
  std::priority_queue<Item> events_;
  std::uint64_t next_ = 0;
};

}  // namespace weft::runtime::sim

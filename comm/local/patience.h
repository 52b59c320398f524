// What a rank does while nothing moves: it looks again at once, then offers its core to whoever
// else wants to run, then sleeps. Internal to comm/local.
//
// A yield costs a microsecond where a sleep and a wake-up cost ten, and with more ranks than cores
// it hands the core to just the ranks that are waited for: the more ranks share a core, the longer
// it goes on. But a rank that yields to one that computes comes back after a time slice, and
// meanwhile cannot be woken, and it has spent a slice of its own: what a yield as long as a slice
// took is made good by many times as long of sleeping instead.
//
// With a core for every rank nobody needs to give way: a rank that waits keeps its core a while.
// Two that hand one core to each other can stay on it for long, for whoever wakes a sleeper tends
// to get it onto the own core, and the other core idles meanwhile.
#pragma once

#include <sched.h>

#include <chrono>

#include "base/clock.h"

namespace weft::comm {

class Patience {
 public:
  /// `ranks_per_core` of the world, rounded up.
  explicit Patience(unsigned ranks_per_core)
      : spin_for_(ranks_per_core <= 1 ? kSpinFor : Duration(0)),
        yield_for_(kYieldFor * ranks_per_core) {}

  /// Before a wait, and when something has moved.
  void renew() { tries_ = 0; }

  /// Waits a little. False: it is time to sleep.
  bool wait_briefly() {
    if (++tries_ <= kSpins) {
      pause();
      return true;
    }
    const Instant now = std::chrono::steady_clock::now();
    if (tries_ == kSpins + 1) idle_since_ = now;
    if (now - idle_since_ < spin_for_) {
      for (int i = 0; i < kPauses; ++i) pause();
      return true;
    }
    if (now < yield_from_ || now - idle_since_ > spin_for_ + yield_for_) return false;
    ::sched_yield();
    const Instant back = std::chrono::steady_clock::now();
    if (const auto away = back - now; away > kLongYield) yield_from_ = back + kPenalty * away;
    return true;
  }

 private:
  static constexpr int kSpins = 4;  // yielding alone on a core is hardly slower
  static constexpr std::chrono::microseconds kYieldFor{50}, kLongYield{3000};
  static constexpr Duration kSpinFor = std::chrono::microseconds(200);
  static constexpr int kPauses = 8;    // between two looks at the clock
  static constexpr int kPenalty = 20;  // so that at most a twentieth of the time is lost

  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  Duration spin_for_, yield_for_;
  int tries_ = 0;
  Instant idle_since_{}, yield_from_{};
};

}  // namespace weft::comm

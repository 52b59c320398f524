// What a rank does while nothing moves: it looks again at once, then offers its core to whoever
// else wants to run, then sleeps. Internal to comm/local.
//
// A yield costs a microsecond where a sleep and a wake-up cost ten, and with more ranks than cores
// it hands the core to just the ranks that are waited for. But a rank that yields to one that
// computes comes back after a time slice, and meanwhile cannot be woken: after a yield that lasted
// long, sleeping is better for a while, and for longer each time that it turns out so again.
#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>

#include "base/clock.h"

namespace weft::comm {

class Patience {
 public:
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
    if (now < yield_from_ || now - idle_since_ > kYieldFor) return false;
    ::sched_yield();
    const Instant back = std::chrono::steady_clock::now();
    if (back - now > kLongYield) {
      yield_from_ = back + no_yield_for_;
      no_yield_for_ = std::min(2 * no_yield_for_, kNoYieldMax);
      short_yields_ = 0;
    } else if (++short_yields_ >= kTrusted) {
      no_yield_for_ = kNoYieldMin;
    }
    return true;
  }

 private:
  static constexpr int kSpins = 4;  // yielding alone on a core is hardly slower
  static constexpr std::chrono::microseconds kYieldFor{50}, kLongYield{100};
  static constexpr std::chrono::milliseconds kNoYieldMin{10}, kNoYieldMax{640};
  static constexpr int kTrusted = 64;  // short yields in a row after which the core is ours again

  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  int tries_ = 0;
  int short_yields_ = 0;
  std::chrono::milliseconds no_yield_for_ = kNoYieldMin;
  Instant idle_since_{}, yield_from_{};
};

}  // namespace weft::comm

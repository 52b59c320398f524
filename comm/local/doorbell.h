// How a rank sleeps until a peer has written to it or freed space for it. One doorbell per rank of
// the world, in shared memory, whatever the group. Internal to comm/local.
//
// No wake-up is missed: the sleeper sets `sleeping` and then looks at the rings; the peer changes
// a ring and then looks at `sleeping`. All four are sequentially consistent, so at least one of
// the two sees the other; and a peer that sees the sleeper moves `rings` on, which ends a futex
// wait that has not begun yet.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>
#include <ctime>

namespace weft::comm {

struct alignas(64) Doorbell {
  std::atomic<std::uint32_t> rings;
  static constexpr std::uint32_t kAwake = 0, kHere = 1, kElsewhere = 2;
  std::atomic<std::uint32_t> sleeping;

  /// After a change that the owner may be waiting for. True: it sleeps elsewhere (sleep_by), and
  /// the caller has to end that.
  bool ring() {
    if (sleeping.load(std::memory_order_seq_cst) == kAwake) return false;
    const std::uint32_t was = sleeping.exchange(kAwake, std::memory_order_seq_cst);
    if (was == kHere) wake();
    return was == kElsewhere;
  }

  /// Wakes the owner whether it sleeps or is about to.
  void wake() {
    rings.fetch_add(1, std::memory_order_seq_cst);
    ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&rings), FUTEX_WAKE, INT_MAX, nullptr,
              nullptr, 0);
  }

  /// Sleeps for at most `longest`, or until rung, unless `ready()` holds already.
  template <class Ready>
  void sleep(std::chrono::nanoseconds longest, Ready ready) {
    const std::uint32_t seen = rings.load(std::memory_order_seq_cst);
    sleeping.store(kHere, std::memory_order_seq_cst);
    if (!ready()) {
      timespec timeout{};
      timeout.tv_sec = static_cast<std::time_t>(longest.count() / 1'000'000'000);
      timeout.tv_nsec = static_cast<long>(longest.count() % 1'000'000'000);
      ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&rings), FUTEX_WAIT, seen, &timeout,
                nullptr, 0);
    }
    sleeping.store(kAwake, std::memory_order_seq_cst);
  }

  /// The same for an owner that has a way of its own to sleep: `sleep_now()`, which a ringer that
  /// finds it here ends by other means.
  template <class Ready, class Sleep>
  void sleep_by(Sleep sleep_now, Ready ready) {
    sleeping.store(kElsewhere, std::memory_order_seq_cst);
    if (!ready()) sleep_now();
    sleeping.store(kAwake, std::memory_order_seq_cst);
  }
};

static_assert(std::atomic<std::uint32_t>::is_always_lock_free &&
              sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));

}  // namespace weft::comm

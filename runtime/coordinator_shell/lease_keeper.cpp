#include "runtime/coordinator_shell/lease_keeper.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

namespace weft::runtime {

namespace {

constexpr std::chrono::milliseconds kLeave{500};

}  // namespace

struct LeaseKeeper::Shared {
  Shared(Write does, const Clock& its_clock) : write(std::move(does)), clock(its_clock) {}

  void work();
  /// Nothing waits and nothing is under way. `lock` holds the mutex.
  bool wait_idle(std::unique_lock<std::mutex>& lock, std::chrono::milliseconds bound) {
    return changed.wait_for(lock, bound, [&] { return !wanted && !busy; });
  }

  const Write write;
  const Clock& clock;
  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  std::optional<Claim> wanted;
  bool busy = false, leaves = false;
  std::optional<Renewal> ended;
};

void LeaseKeeper::Shared::work() {
  std::unique_lock lock(mutex);
  for (;;) {
    changed.wait(lock, [&] { return wanted || leaves; });
    if (!wanted) return;
    const Claim claim = *std::exchange(wanted, std::nullopt);
    busy = true;
    lock.unlock();
    const Instant begun = clock.now();
    auto highest = write(claim);
    lock.lock();
    busy = false;
    ended = Renewal{std::move(highest), begun};
    changed.notify_all();
  }
}

LeaseKeeper::LeaseKeeper(Write write, const Clock& clock)
    : shared_(std::make_shared<Shared>(std::move(write), clock)) {
  std::thread([shared = shared_] { shared->work(); }).detach();
}

LeaseKeeper::~LeaseKeeper() {
  std::unique_lock lock(shared_->mutex);
  shared_->wait_idle(lock, kLeave);
  shared_->wanted.reset();
  shared_->leaves = true;
  shared_->changed.notify_all();
}

void LeaseKeeper::renew(const Claim& claim) {
  const std::lock_guard lock(shared_->mutex);
  shared_->wanted = claim;
  shared_->changed.notify_all();
}

std::optional<LeaseKeeper::Renewal> LeaseKeeper::take() {
  const std::lock_guard lock(shared_->mutex);
  return std::exchange(shared_->ended, std::nullopt);
}

bool LeaseKeeper::finish(const Claim& claim, std::chrono::milliseconds bound) {
  std::unique_lock lock(shared_->mutex);
  shared_->wanted = claim;
  shared_->ended.reset();
  shared_->changed.notify_all();
  return shared_->wait_idle(lock, bound) && shared_->ended && shared_->ended->highest_term;
}

}  // namespace weft::runtime

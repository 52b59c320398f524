// Threads that take turns on simulated time: one runs, the others stand still, and time moves to
// the next event when nobody can run. Knows nothing of messages. Internal to comm/sim.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace weft::comm {

/// Lets one pass through for each time it is opened. (std::binary_semaphore can lose a wake-up
/// before GCC 12.3, bug 104928.)
class Gate {
 public:
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_one();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
    open_ = false;
  }

 private:
  std::mutex mutex_;  // guards open_
  std::condition_variable changed_;
  bool open_ = false;
};

/// One run of `num_ranks` threads. Everything here and everything that the ranks share through it
/// belongs to whoever has the turn; handing the turn over orders memory, so nothing is locked.
/// What happens at one instant happens in this order: ranks that can run (in the order in which
/// they were woken), events (in the order in which they were asked for), ranks that poll.
class Turns {
 public:
  explicit Turns(int num_ranks);

  /// Runs body(rank) on one thread a rank; returns when all have returned. `on_end(rank)` is called
  /// after each body's return.
  void run(const std::function<void(int)>& body, const std::function<void(int)>& on_end);

  Duration now() const { return now_; }
  /// The latest moment at which a rank that was not halted ended.
  Duration last_end() const { return last_end_; }

  /// Asks for `event` at `when` (not before now); it runs between turns and may wake ranks.
  void at(Duration when, std::function<void()> event);

  // For the rank that has the turn. A halted rank (see below) returns from them at once.
  void sleep_until(Duration then);
  /// Until wake(rank) or `deadline`, whichever comes first.
  void wait_until(Duration deadline);
  /// After a look that found nothing: everybody else who can run at this instant runs first. A rank
  /// that looks often at one instant waits for the next event, so that polling loops end.
  void poll();

  /// Ends this rank's wait_until; no effect on a rank that does not wait.
  void wake(int rank);
  void wake_all();

  /// The rank gets no turn any more until all others have ended or are halted, too. Then it is
  /// resumed to unwind: all its calls return at once and time stands still.
  void halt(int rank);
  bool halted(int rank) const { return at_rank(rank).halted; }
  bool ended(int rank) const { return at_rank(rank).state == State::ended; }

 private:
  enum class State { ready, running, waiting, sleeping, polling, parked, ended };
  using EventKey = std::pair<Duration, std::uint64_t>;
  struct RankState {
    State state = State::ready;
    bool halted = false;
    int polls = 0;  // at this instant
    Gate turn;
  };

  RankState& at_rank(int rank) const { return *ranks_[static_cast<std::size_t>(rank)]; }
  void make_ready(int rank);
  /// Gives the turn away; returns when it has come back.
  void give_turn(State state);
  void hand_to_next();
  int next_rank();
  bool fire_next_event(Duration latest);
  EventKey add_event(Duration when, std::function<void()> event);

  std::vector<std::unique_ptr<RankState>> ranks_;
  std::deque<int> ready_, polling_;
  std::map<EventKey, std::function<void()>> events_;
  std::uint64_t num_events_ = 0;
  Duration now_{0}, last_end_{0};
  int current_ = -1;
  Gate all_ended_;
};

}  // namespace weft::comm

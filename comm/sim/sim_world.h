// Ranks of one process on simulated time: the same contract as every transport, an answer that is
// the same in every run, and no waiting. For tests of the executor against the timeline and for
// rehearsals.
#pragma once

#include <cstddef>
#include <functional>
#include <limits>
#include <memory>

#include "base/clock.h"
#include "comm/communicator.h"

namespace weft::comm {

/// What a message costs on its way from one rank to another: it arrives latency + bytes / bandwidth
/// after it has begun to leave. The messages of one directed pair, whatever their group, leave one
/// after the other: the next begins when the last byte of the one before it is out.
struct SimLink {
  Duration latency{0};
  double bytes_per_second = std::numeric_limits<double>::infinity();
};

struct SimOptions {
  std::function<SimLink(int from, int to)> link;  // world ranks; empty: messages take no time
  /// Longer messages begin to leave only when their receive has been started; shorter ones at once.
  std::size_t eager_bytes_max = std::numeric_limits<std::size_t>::max();
};

/// A simulated host of `num_ranks` ranks. Time moves only when every rank waits or sleeps, and then
/// to the next moment at which one of them can go on; ranks run one at a time, so that the order of
/// everything is a function of the inputs alone.
///
/// A send's wait ends when its last byte is out, a receive's when the last byte is in; messages
/// move while their ranks sleep or compute, whichever communicator they belong to. Wait bounds are
/// simulated time and cost nothing. A `test` that finds nothing lets the others run at this
/// instant; after 64 of them at one instant, time moves to the next event.
/// Threads: run() makes one a rank and joins them; a body uses its Rank from its own thread only.
class SimWorld {
 public:
  explicit SimWorld(int num_ranks, SimOptions options = {});
  ~SimWorld();
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;

  /// One rank's view, valid inside run(): its transport, and its clock, whose sleep_until lets
  /// simulated time pass for this rank. Simulated time 0 is Instant{}.
  struct Rank {
    int rank = 0;
    Transport& transport;
    Clock& clock;
  };
  /// Runs body once per rank, from simulated time 0, and returns when all have ended. What a rank
  /// has sent before its body returned still arrives; waits for more are Unavailable at once.
  void run(const std::function<void(const Rank&)>& body);
  /// Simulated time at which the last rank ended; ranks that were killed or stopped do not count.
  Duration elapsed() const;

  // Faults, to be asked for before run(); each holds for every run() after it. A rank that is
  // killed or stopped stands still where it waits or sleeps at that moment, until all others have
  // ended; then its body is resumed to unwind: its waits fail with Unavailable, its sleeps return
  // at once, its clock stands still. So a body must end when its communicator fails, and no loop of
  // it may depend on the clock alone.
  /// From then on the rank neither runs nor answers; every wait in a group that it belongs to is
  /// Unavailable and names it.
  void kill_at(int rank, Duration when);
  /// From then on the rank neither runs nor answers, and nobody is told.
  void stop_at(int rank, Duration when);

 private:
  struct Fault {
    int rank;
    Duration when;
    bool killed;
  };
  int num_ranks_;
  SimOptions options_;
  std::vector<Fault> faults_;
  Duration elapsed_{0};
};

}  // namespace weft::comm

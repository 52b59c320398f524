// Ranks of one process on simulated time: the same contract as every transport, an answer that is the same
// in every run, and no waiting. For tests of the executor against the timeline and for rehearsals.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <string>

#include "base/clock.h"
#include "comm/communicator.h"

namespace weft::comm {

/// What a message costs on its way from one rank to another: it arrives latency + bytes / bandwidth
/// after it has left; messages of one directed pair leave one after the other.
struct SimLink {
  Duration latency{0};
  double bytes_per_second = std::numeric_limits<double>::infinity();
};

struct SimOptions {
  std::function<SimLink(int from, int to)> link;  // empty: messages take no time
};

/// A simulated host of `num_ranks` ranks. Time moves only when every rank waits or sleeps, and then
/// to the next moment at which one of them can go on; ranks run one at a time, so that the order of
/// everything is a function of the inputs alone.
class SimWorld {
 public:
  explicit SimWorld(int num_ranks, SimOptions options = {});
  ~SimWorld();

  /// One rank's view, valid inside run(): its transport, and its clock, whose sleep_until lets
  /// simulated time pass for this rank.
  struct Rank {
    int rank = 0;
    Transport& transport;
    Clock& clock;
  };
  /// Runs body once per rank, from simulated time 0, and returns when all have ended.
  void run(const std::function<void(const Rank&)>& body);
  /// Simulated time at which the last rank ended.
  Duration elapsed() const;

  // Faults, to be asked for before run().
  /// From then on the rank neither runs nor answers; its peers learn of it (Unavailable).
  void kill_at(int rank, Duration when);
  /// From then on the rank neither runs nor answers, and nobody is told.
  void stop_at(int rank, Duration when);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weft::comm

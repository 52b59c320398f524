// Seats under construction: who sits where, what is free, and what moving a rank would change.
#pragma once

#include <vector>

#include "scheduler/topology/assignment.h"

namespace weft::scheduler {

constexpr Seat kNoSeat{-1, -1};

class Seating {
 public:
  Seating(const Topology& topology, const Traffic& traffic);

  bool is_seated(int rank) const { return seats_[rank] != kNoSeat; }
  const Seat& seat(int rank) const { return seats_[rank]; }
  const std::vector<Seat>& seats() const { return seats_; }
  /// -1: free.
  int rank_at(const Seat& seat) const { return rank_at_[seat.host][seat.device]; }
  int num_free(int host) const { return free_[host]; }

  void put(int rank, const Seat& seat);  // requires both free
  void lift(int rank);
  /// Exchanges what is at the two seats; one of them may be free.
  void exchange(const Seat& a, const Seat& b);

  /// Of everything that `rank` sends to and gets from ranks that are seated, if it sat at `seat`.
  double cost_at(int rank, const Seat& seat) const;
  /// How much cheaper the whole becomes by exchange(a, b).
  double gain(const Seat& a, const Seat& b);
  /// Exchanges two of `places` while one helps. All pairs are tried, at most `passes` times.
  void improve(const std::vector<Seat>& places, int passes);

 private:
  double cost_of_pair(int a, int b) const;  // of what sits at two seats, each with all others

  const Topology* topology_;
  const Traffic* traffic_;
  std::vector<Seat> seats_;
  std::vector<std::vector<int>> rank_at_;  // [host][device]
  std::vector<int> free_;                  // [host]; 0 for those that are not healthy
};

/// Fills in `spares` and `spare_leaves` from the seats.
void list_spares(Assignment& assignment, const Topology& topology);

}  // namespace weft::scheduler

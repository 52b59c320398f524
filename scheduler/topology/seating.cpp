#include "scheduler/topology/seating.h"

#include "base/check.h"

namespace weft::scheduler {
namespace {

// Below this share of a cost a gain is rounding.
constexpr double kGainMin = 1e-9;

}  // namespace

Seating::Seating(const Topology& topology, const Traffic& traffic)
    : topology_(&topology), traffic_(&traffic), seats_(traffic.world, kNoSeat) {
  for (const Host& host : topology.hosts) {
    rank_at_.emplace_back(host.devices, -1);
    free_.push_back(host.healthy ? host.devices : 0);
  }
}

void Seating::put(int rank, const Seat& seat) {
  WEFT_CHECK(!is_seated(rank) && rank_at(seat) < 0, "a seat is given twice");
  seats_[rank] = seat;
  rank_at_[seat.host][seat.device] = rank;
  --free_[seat.host];
}

void Seating::lift(int rank) {
  const Seat seat = seats_[rank];
  rank_at_[seat.host][seat.device] = -1;
  ++free_[seat.host];
  seats_[rank] = kNoSeat;
}

void Seating::exchange(const Seat& a, const Seat& b) {
  if (a == b) return;
  const int x = rank_at(a), y = rank_at(b);
  if (x >= 0) lift(x);
  if (y >= 0) lift(y);
  if (x >= 0) put(x, b);
  if (y >= 0) put(y, a);
}

double Seating::cost_at(int rank, const Seat& seat) const {
  double cost = 0;
  for (const int g : traffic_->groups_of[rank]) {
    const TrafficGroup& group = traffic_->groups[g];
    double sum = 0;
    for (const int other : group.ranks)
      if (other != rank && is_seated(other)) sum += topology_->cost(seat, seats_[other]);
    cost += 2 * group.bytes_per_pair * sum;
  }
  return cost;
}

double Seating::cost_of_pair(int a, int b) const {
  return (a < 0 ? 0 : cost_at(a, seats_[a])) + (b < 0 ? 0 : cost_at(b, seats_[b]));
}

// What the two send to each other is counted twice both before and after, and costs the same.
double Seating::gain(const Seat& a, const Seat& b) {
  const int x = rank_at(a), y = rank_at(b);
  const double before = cost_of_pair(x, y);
  exchange(a, b);
  const double after = cost_of_pair(x, y);
  exchange(a, b);
  const double gained = before - after;
  return gained > kGainMin * before ? gained : 0;
}

void Seating::improve(const std::vector<Seat>& places, int passes) {
  bool better = true;
  for (int pass = 0; pass < passes && better; ++pass) {
    better = false;
    for (std::size_t i = 0; i < places.size(); ++i)
      for (std::size_t j = i + 1; j < places.size(); ++j) {
        if (rank_at(places[i]) < 0 && rank_at(places[j]) < 0) continue;
        if (gain(places[i], places[j]) <= 0) continue;
        exchange(places[i], places[j]);
        better = true;
      }
  }
}

}  // namespace weft::scheduler

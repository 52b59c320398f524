#include <algorithm>
#include <map>

#include "scheduler/balance/assignment.h"
#include "scheduler/topology/assignment.h"
#include "scheduler/topology/seating.h"

namespace weft::scheduler {
namespace {

constexpr std::size_t kCandidatesMax = 256;  // free hosts that are weighed for whole lost ones
constexpr std::size_t kPlacesMax = 512;      // seats between which moved ranks are exchanged
constexpr int kPassesMax = 10;

struct Lost {
  std::map<int, std::vector<int>> ranks_of;  // bad host -> its ranks
  std::vector<int> ranks() const {
    std::vector<int> all;
    for (const auto& [host, ranks] : ranks_of) all.insert(all.end(), ranks.begin(), ranks.end());
    return all;
  }
};

Expected<void> check_seats(const std::vector<Seat>& seats, const Placement& placement,
                           const Topology& topology) {
  if (std::ssize(seats) != placement.layout.world())
    return fail(Code::InvalidArgument, std::to_string(seats.size()) + " seats for " +
                                           std::to_string(placement.layout.world()) + " ranks");
  std::vector<std::vector<bool>> taken;
  for (const Host& host : topology.hosts) taken.emplace_back(host.devices, false);
  for (std::size_t rank = 0; rank < seats.size(); ++rank) {
    const Seat& seat = seats[rank];
    const std::string what = "rank " + std::to_string(rank) + ": host number " +
                             std::to_string(seat.host) + ", device " + std::to_string(seat.device);
    if (seat.host < 0 || seat.host >= std::ssize(topology.hosts) || seat.device < 0 ||
        seat.device >= topology.hosts[seat.host].devices)
      return fail(Code::InvalidArgument, what + " does not exist");
    if (taken[seat.host][seat.device])
      return fail(Code::InvalidArgument, what + " has another rank");
    taken[seat.host][seat.device] = true;
  }
  return {};
}

/// What it costs to bring a bad host's ranks to `to`, each on its own rail where it can be.
double cost_at_host(const std::vector<int>& ranks, const std::vector<Seat>& before, int to,
                    const Topology& topology, const Seating& seating) {
  double cost = 0;
  int next = 0;
  for (const int rank : ranks) {
    const int device =
        before[rank].device < topology.hosts[to].devices ? before[rank].device : next++;
    cost += seating.cost_at(rank, {to, device});
  }
  return cost;
}

void put_ranks(const std::vector<int>& ranks, const std::vector<Seat>& before, int to,
               const Topology& topology, Seating& seating) {
  const auto free = [&](int device) {
    return device < topology.hosts[to].devices && seating.rank_at({to, device}) < 0;
  };
  for (const int rank : ranks)
    if (free(before[rank].device)) seating.put(rank, {to, before[rank].device});
  for (const int rank : ranks)
    for (int d = 0; d < topology.hosts[to].devices && !seating.is_seated(rank); ++d)
      if (free(d)) seating.put(rank, {to, d});
}

/// Whole hosts to whole free hosts, by least cost altogether.
void seat_by_host(const Lost& lost, const std::vector<Seat>& before, const Topology& topology,
                  Seating& seating) {
  std::vector<int> from, to;
  std::size_t largest = 0;
  for (const auto& [host, ranks] : lost.ranks_of) {
    from.push_back(host);
    largest = std::max(largest, ranks.size());
  }
  for (int h = 0; h < std::ssize(topology.hosts) && to.size() < kCandidatesMax; ++h)
    if (topology.hosts[h].healthy && seating.num_free(h) == topology.hosts[h].devices &&
        seating.num_free(h) >= static_cast<int>(largest))
      to.push_back(h);
  if (to.empty()) return;
  const std::size_t n = std::max(from.size(), to.size());
  std::vector<std::vector<double>> cost(n, std::vector<double>(n, 0));
  double most = 0;
  for (std::size_t i = 0; i < from.size(); ++i)
    for (std::size_t j = 0; j < to.size(); ++j) {
      cost[i][j] = cost_at_host(lost.ranks_of.at(from[i]), before, to[j], topology, seating);
      most = std::max(most, cost[i][j]);
    }
  std::vector<std::vector<long long>> whole(n, std::vector<long long>(n, 0));
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      whole[i][j] = most > 0 ? static_cast<long long>(cost[i][j] / most * 1e12) : 0;
  const std::vector<int> chosen = least_cost_assignment(whole);
  for (std::size_t i = 0; i < from.size(); ++i)
    if (chosen[i] < std::ssize(to))
      put_ranks(lost.ranks_of.at(from[i]), before, to[chosen[i]], topology, seating);
}

std::vector<Seat> free_seats(const Topology& topology, const Seating& seating) {
  std::vector<Seat> seats;
  for (int h = 0; h < std::ssize(topology.hosts); ++h)
    for (int d = 0;
         seating.num_free(h) > 0 && topology.hosts[h].healthy && d < topology.hosts[h].devices; ++d)
      if (seating.rank_at({h, d}) < 0) seats.push_back({h, d});
  return seats;
}

/// The others one by one, each where it is cheapest now.
void seat_one_by_one(const std::vector<int>& ranks, const Topology& topology, Seating& seating) {
  for (const int rank : ranks) {
    if (seating.is_seated(rank)) continue;
    Seat best = kNoSeat;
    double least = 0;
    for (const Seat& seat : free_seats(topology, seating)) {
      const double cost = seating.cost_at(rank, seat);
      if (best != kNoSeat && cost >= least) continue;
      best = seat;
      least = cost;
    }
    seating.put(rank, best);
  }
}

std::string names(const Lost& lost, const Topology& topology) {
  std::string text;
  for (const auto& [host, ranks] : lost.ranks_of)
    text += (text.empty() ? "" : ", ") + topology.hosts[host].name;
  return text;
}

}  // namespace

Expected<Assignment> replace(const std::vector<Seat>& seats, const Placement& placement,
                             const Topology& topology, const TrafficBytes& bytes) {
  WEFT_TRY(check_topology(topology));
  WEFT_TRY(check_seats(seats, placement, topology));
  Lost lost;
  for (std::size_t rank = 0; rank < seats.size(); ++rank)
    if (!topology.hosts[seats[rank].host].healthy)
      lost.ranks_of[seats[rank].host].push_back(static_cast<int>(rank));
  const std::vector<int> ranks = lost.ranks();
  const int kept = placement.layout.world() - static_cast<int>(ranks.size());
  const int free = topology.num_seats() - kept;
  if (free < std::ssize(ranks))
    return fail(Code::InvalidArgument,
                names(lost, topology) + " had " + std::to_string(ranks.size()) +
                    " ranks; healthy hosts have " + std::to_string(free) +
                    " free devices: wait for a host, or run with fewer ranks");
  const Traffic traffic = traffic_of(placement, bytes);
  Seating seating(topology, traffic);
  for (std::size_t rank = 0; rank < seats.size(); ++rank)
    if (topology.hosts[seats[rank].host].healthy) seating.put(static_cast<int>(rank), seats[rank]);
  seat_by_host(lost, seats, topology, seating);
  seat_one_by_one(ranks, topology, seating);
  std::vector<Seat> places;
  for (const int rank : ranks) places.push_back(seating.seat(rank));
  for (const Seat& seat : free_seats(topology, seating))
    if (places.size() < kPlacesMax) places.push_back(seat);
  if (places.size() <= kPlacesMax) seating.improve(places, kPassesMax);

  Assignment result;
  result.seats = seating.seats();
  result.moved = static_cast<int>(ranks.size());
  result.score = score_of(result.seats, traffic, topology);
  list_spares(result, topology);
  return result;
}

}  // namespace weft::scheduler

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <set>

#include "scheduler/topology/assignment.h"

namespace weft::scheduler {
namespace {

using dualpipe::Kind;

Placement placed(const Layout& layout) {
  auto placement = place(layout, 2 * layout.pipeline);
  EXPECT_TRUE(placement) << placement.error().message;
  return *placement;
}

/// leaves x hosts x devices.
Topology grid(int leaves, int hosts, int devices) {
  Topology topology;
  for (int l = 0; l < leaves; ++l)
    for (int h = 0; h < hosts; ++h)
      topology.hosts.push_back({"n" + std::to_string(l * hosts + h), l, devices});
  return topology;
}

std::vector<Seat> seats_of(const Topology& topology) {
  std::vector<Seat> seats;
  for (int h = 0; h < std::ssize(topology.hosts); ++h)
    for (int d = 0; topology.hosts[h].healthy && d < topology.hosts[h].devices; ++d)
      seats.push_back({h, d});
  return seats;
}

/// The least cost of all ways to seat `movable` on `free`, the others staying at `seats`.
double least_cost(std::vector<Seat> seats, const std::vector<int>& movable,
                  const std::vector<Seat>& free, const Traffic& traffic, const Topology& topology) {
  double least = 1e300;
  std::vector<bool> taken(free.size(), false);
  const std::function<void(std::size_t)> go = [&](std::size_t i) {
    if (i == movable.size()) {
      least = std::min(least, score_of(seats, traffic, topology).cost);
      return;
    }
    for (std::size_t f = 0; f < free.size(); ++f) {
      if (taken[f]) continue;
      taken[f] = true;
      seats[movable[i]] = free[f];
      go(i + 1);
      taken[f] = false;
    }
  };
  go(0);
  return least;
}

void expect_sound(const Assignment& assignment, const Topology& topology) {
  std::set<std::pair<int, int>> taken;
  for (const Seat& seat : assignment.seats) {
    EXPECT_TRUE(topology.hosts[seat.host].healthy);
    EXPECT_LT(seat.device, topology.hosts[seat.host].devices);
    EXPECT_TRUE(taken.insert({seat.host, seat.device}).second);
  }
}

struct Small {
  Layout layout;
  Topology topology;
};

std::vector<Small> small_cases() {
  // Up to six ranks on as many seats; one below has seats to spare. More take too long to try all.
  std::vector<Small> cases = {
      {{Kind::DualPipe, 2, 2, 2, 4}, grid(2, 1, 2)}, {{Kind::DualPipe, 2, 2, 1, 4}, grid(2, 1, 3)},
      {{Kind::OneFOneB, 2, 3, 3, 2}, grid(3, 1, 2)}, {{Kind::OneFOneB, 6, 1, 1, 6}, grid(3, 1, 2)},
      {{Kind::DualPipe, 2, 3, 1, 4}, grid(2, 1, 3)}, {{Kind::OneFOneB, 1, 6, 2, 1}, grid(1, 3, 2)},
      {{Kind::DualPipeV, 3, 2, 2, 6}, grid(3, 1, 2)}};
  Small odd{{Kind::OneFOneB, 3, 2, 2, 3}, grid(2, 2, 2)};
  odd.topology.hosts[1].devices = 1;
  odd.topology.hosts[2].devices = 3;
  cases.push_back(odd);
  return cases;
}

TEST(Topology, SmallWorldsAreAssignedAsWellAsAnExhaustiveSearchDoes) {
  for (const Small& c : small_cases())
    for (const TrafficBytes& bytes : {TrafficBytes{}, TrafficBytes{1, 5, 20}}) {
      const Placement placement = placed(c.layout);
      const auto found = assign(placement, c.topology, bytes);
      ASSERT_TRUE(found) << found.error().message;
      expect_sound(*found, c.topology);
      std::vector<int> ranks(c.layout.world());
      std::iota(ranks.begin(), ranks.end(), 0);
      const double least = least_cost(found->seats, ranks, seats_of(c.topology),
                                      traffic_of(placement, bytes), c.topology);
      // Spares under more leaves may cost up to a hundredth.
      EXPECT_LE(found->score.cost,
                least * (c.topology.num_seats() > std::ssize(ranks) ? 1.01 : 1.0) + 1e-12)
          << "case " << &c - &small_cases()[0];
    }
}

TEST(Topology, ExpertGroupsOfV3StayUnderOneLeafOnEightHostsWithTheirRails) {
  const Placement placement = placed({Kind::DualPipe, 16, 128, 64, 120});
  const Topology topology = grid(16, 17, 8);
  const auto found = assign(placement, topology);
  ASSERT_TRUE(found);
  expect_sound(*found, topology);
  EXPECT_EQ(found->score.expert_groups, 32);
  EXPECT_EQ(found->score.expert_groups_over_leaves, 0);
  EXPECT_EQ(found->score.expert_group_hosts, 8);
  EXPECT_EQ(found->score.hops_off_rail, 0);
  // Two positions a leaf: every second hop of each of the two halves crosses the spine.
  EXPECT_LE(found->score.hops_over_spine, 128 * 8);
  EXPECT_EQ(found->spares.size(), 16u);
  EXPECT_EQ(found->spare_leaves, 16);
}

TEST(Topology, ADeadHostMovesItsOwnRanksOnlyAndToASpareOfItsLeaf) {
  const Placement placement = placed({Kind::DualPipe, 4, 16, 16, 8});
  Topology topology = grid(4, 3, 8);
  const auto before = assign(placement, topology);
  ASSERT_TRUE(before);
  const int lost = before->seats[20].host;
  topology.hosts[lost].healthy = false;
  const auto after = replace(before->seats, placement, topology);
  ASSERT_TRUE(after) << after.error().message;
  expect_sound(*after, topology);
  EXPECT_EQ(after->moved, 8);
  for (int rank = 0; rank < 64; ++rank) {
    if (before->seats[rank].host != lost) {
      EXPECT_EQ(after->seats[rank], before->seats[rank]);
      continue;
    }
    EXPECT_EQ(topology.hosts[after->seats[rank].host].leaf, topology.hosts[lost].leaf);
    EXPECT_EQ(after->seats[rank].device, before->seats[rank].device) << "left its rail";
  }
}

TEST(Topology, ReplacementIsTheCheapestOfThoseThatMoveFewest) {
  for (Small c : small_cases()) {
    c.topology.hosts.push_back({"spare0", 0, 2});
    c.topology.hosts.push_back({"spare1", 1, 2});
    const Placement placement = placed(c.layout);
    const auto before = assign(placement, c.topology);
    ASSERT_TRUE(before);
    for (int lost = 0; lost < std::ssize(c.topology.hosts); ++lost) {
      Topology after = c.topology;
      after.hosts[lost].healthy = false;
      if (after.num_seats() < c.layout.world()) continue;
      const auto found = replace(before->seats, placement, after);
      ASSERT_TRUE(found);
      expect_sound(*found, after);
      std::vector<int> moved;
      std::set<std::pair<int, int>> kept;
      for (int rank = 0; rank < c.layout.world(); ++rank)
        if (before->seats[rank].host == lost)
          moved.push_back(rank);
        else
          kept.insert({before->seats[rank].host, before->seats[rank].device});
      EXPECT_EQ(found->moved, std::ssize(moved));
      std::vector<Seat> free;
      for (const Seat& seat : seats_of(after))
        if (!kept.contains({seat.host, seat.device})) free.push_back(seat);
      const double least = least_cost(before->seats, moved, free, traffic_of(placement), after);
      EXPECT_LE(found->score.cost, least * (1 + 1e-9));
    }
  }
}

TEST(Topology, WhatDoesNotFitSaysHowMuchIsMissing) {
  const Placement placement = placed({Kind::OneFOneB, 2, 4, 1, 2});
  const auto found = assign(placement, grid(1, 3, 2));
  ASSERT_FALSE(found);
  EXPECT_NE(found.error().message.find("2 more are needed"), std::string::npos);
  Topology topology = grid(1, 4, 2);
  const auto full = assign(placement, topology);
  ASSERT_TRUE(full);
  topology.hosts[3].healthy = false;
  const auto moved = replace(full->seats, placement, topology);
  ASSERT_FALSE(moved);
  EXPECT_NE(moved.error().message.find("n3 had 2 ranks"), std::string::npos);
  EXPECT_FALSE(replace({{0, 0}}, placement, topology));
  std::vector<Seat> strange = full->seats;
  strange[3] = {99, 0};
  EXPECT_NE(replace(strange, placement, topology).error().message.find("does not exist"),
            std::string::npos);
  topology.hosts[1].name = "n0";
  topology.hosts[2].devices = 0;
  const auto wrong = assign(placement, topology);
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("name of another"), std::string::npos);
  EXPECT_NE(wrong.error().message.find("0 devices"), std::string::npos);
}

}  // namespace
}  // namespace weft::scheduler

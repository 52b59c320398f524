// An assignment's score, by counting: how many pairs of a group share a host, a leaf, a rail.
#include <algorithm>
#include <set>

#include "scheduler/topology/assignment.h"

namespace weft::scheduler {
namespace {

/// Ordered pairs of equal values.
double equal_pairs(std::vector<long long>& values) {
  std::ranges::sort(values);
  double pairs = 0;
  for (std::size_t i = 0; i < values.size();) {
    std::size_t end = i;
    while (end < values.size() && values[end] == values[i]) ++end;
    const auto n = static_cast<double>(end - i);
    pairs += n * (n - 1);
    i = end;
  }
  return pairs;
}

double cost_of(const TrafficGroup& group, const std::vector<Seat>& seats,
               const Topology& topology) {
  std::vector<long long> host, leaf, device;
  for (const int rank : group.ranks) {
    host.push_back(seats[rank].host);
    leaf.push_back(topology.hosts[seats[rank].host].leaf);
    device.push_back(seats[rank].device);
  }
  const auto n = static_cast<double>(group.ranks.size());
  const double same_host = equal_pairs(host), same_leaf = equal_pairs(leaf);
  // Two ranks of one device index are on two hosts: a seat has one rank.
  const double on_rail = equal_pairs(device);
  const double all = n * (n - 1);
  const LinkCosts& costs = topology.costs;
  return group.bytes_per_pair *
         (same_host * costs.inside + (same_leaf - same_host) * costs.leaf +
          (all - same_leaf) * costs.spine + (all - same_host - on_rail) * costs.off_rail);
}

void count_experts(const TrafficGroup& group, const std::vector<Seat>& seats,
                   const Topology& topology, AssignmentScore& score) {
  std::set<int> hosts, leaves;
  for (const int rank : group.ranks) {
    hosts.insert(seats[rank].host);
    leaves.insert(topology.hosts[seats[rank].host].leaf);
  }
  ++score.expert_groups;
  score.expert_groups_over_leaves += leaves.size() > 1;
  score.expert_group_hosts = std::max(score.expert_group_hosts, static_cast<int>(hosts.size()));
}

void count_hop(const Seat& a, const Seat& b, const Topology& topology, AssignmentScore& score) {
  ++score.pipeline_hops;
  score.hops_over_spine += topology.hosts[a.host].leaf != topology.hosts[b.host].leaf;
  score.hops_off_rail += a.host != b.host && a.device != b.device;
}

}  // namespace

AssignmentScore score_of(const std::vector<Seat>& seats, const Traffic& traffic,
                         const Topology& topology) {
  AssignmentScore score;
  for (const TrafficGroup& group : traffic.groups) {
    score.cost_of[static_cast<int>(group.kind)] += cost_of(group, seats, topology);
    if (group.kind == TrafficKind::Experts) count_experts(group, seats, topology, score);
    if (group.kind == TrafficKind::Pipeline)
      count_hop(seats[group.ranks[0]], seats[group.ranks[1]], topology, score);
  }
  for (const double cost : score.cost_of) score.cost += cost;
  return score;
}

}  // namespace weft::scheduler

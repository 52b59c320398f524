// Which rank runs on which device of which host: a value with a score. Both stages of a DualPipe
// position are on one rank by construction (Placement); which ranks talk how much is Traffic.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/expected.h"
#include "scheduler/topology/topology.h"
#include "scheduler/topology/traffic.h"

namespace weft::scheduler {

/// What an assignment costs and what it keeps.
struct AssignmentScore {
  double cost = 0;  // seconds a step if every byte waited for every other: only for comparing
  std::array<double, kNumTrafficKinds> cost_of{};  // of TrafficKind; together `cost`
  int expert_groups = 0;
  int expert_groups_over_leaves = 0;  // of those, not below one leaf switch
  int expert_group_hosts = 0;         // the most hosts that one expert group is on
  int pipeline_hops = 0;              // neighbours of one pipeline, all pipelines
  int hops_over_spine = 0;            // of those, under different leaves
  int hops_off_rail = 0;              // of those, between hosts and different device indices
};

struct Assignment {
  std::vector<Seat> seats;  // [rank]
  std::vector<int> spares;  // healthy hosts without a rank, ascending
  AssignmentScore score;
  int spare_leaves = 0;  // leaves that have at least one spare host
  int moved = 0;         // replace(): ranks that sit elsewhere than before
};

AssignmentScore score_of(const std::vector<Seat>& seats, const Traffic& traffic,
                         const Topology& topology);

/// Expert groups under one leaf and on as few hosts as they fit, neighbours of a pipeline near and
/// on the same device index, spare hosts spread over leaves as far as that splits no expert group.
/// Deterministic. Small worlds (64 ranks) are searched until no exchange of two seats helps.
/// Errors: InvalidArgument when there are fewer healthy devices than ranks, or a bad topology.
Expected<Assignment> assign(const Placement& placement, const Topology& topology,
                            const TrafficBytes& bytes = {});

/// After hosts went bad (`healthy` false in `topology`): ranks that sat there move to free devices
/// of healthy hosts, all others stay; of all ways to do that, a cheap one: whole hosts to whole
/// hosts by least cost, then exchanges as long as one helps. `seats`: before, one a rank, of the
/// same hosts. Errors: InvalidArgument when the free devices do not suffice (says how many) or a
/// seat does not exist.
Expected<Assignment> replace(const std::vector<Seat>& seats, const Placement& placement,
                             const Topology& topology, const TrafficBytes& bytes = {});

}  // namespace weft::scheduler

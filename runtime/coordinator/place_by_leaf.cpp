#include "runtime/coordinator/place_by_leaf.h"

#include <algorithm>
#include <map>

#include "scheduler/topology/assignment.h"

namespace weft::runtime {
namespace {

using scheduler::Seat;

struct Ground {
  scheduler::Topology topology;
  std::map<std::string, int> host_of;  // by node
};

Ground ground_of(const std::vector<NodeRoom>& nodes) {
  Ground ground;
  std::map<std::string, int> leaves;
  for (const NodeRoom& node : nodes) {
    if (node.slots <= 0) continue;
    const int leaf = leaves.try_emplace(node.leaf, static_cast<int>(leaves.size())).first->second;
    ground.host_of[node.node] = static_cast<int>(ground.topology.hosts.size());
    ground.topology.hosts.push_back({node.node, leaf, node.slots, true});
  }
  return ground;
}

/// Where the ranks were. Those whose slot is there no more sit together, by node, on hosts that are
/// not healthy: the scheduler moves whole hosts to whole hosts.
std::vector<Seat> seats_of(const std::vector<RankPlacement>& before, Ground& ground) {
  std::vector<Seat> seats;
  std::map<std::string, int> gone;
  std::vector<scheduler::Host>& hosts = ground.topology.hosts;
  for (const RankPlacement& place : before) {
    const auto found = ground.host_of.find(place.node);
    if (found != ground.host_of.end() && place.slot < hosts[found->second].devices) {
      seats.push_back({found->second, place.slot});
      continue;
    }
    const auto [entry, made] = gone.try_emplace(place.node, static_cast<int>(hosts.size()));
    // A host's number is above all leaves' numbers: nobody else's leaf.
    if (made) hosts.push_back({place.node + " (gone)", entry->second, 0, false});
    scheduler::Host& host = hosts[entry->second];
    host.devices = std::max(host.devices, place.slot + 1);
    seats.push_back({entry->second, place.slot});
  }
  return seats;
}

}  // namespace

std::optional<std::vector<RankPlacement>> place_by_leaf(const std::vector<NodeRoom>& nodes,
                                                        const std::vector<RankPlacement>& before,
                                                        const scheduler::Layout& layout) {
  for (const NodeRoom& node : nodes)
    if (node.leaf.empty()) return std::nullopt;
  // Who talks to whom does not depend on the layers: any number that every stage gets one of.
  const auto placement = scheduler::place(layout, 2 * layout.pipeline);
  if (!placement) return std::nullopt;
  Ground ground = ground_of(nodes);
  if (ground.topology.num_seats() < layout.world()) return std::nullopt;
  const bool known = static_cast<int>(before.size()) == layout.world();
  const auto found = known
                         ? scheduler::replace(seats_of(before, ground), *placement, ground.topology)
                         : scheduler::assign(*placement, ground.topology);
  if (!found) return std::nullopt;
  std::vector<RankPlacement> placed;
  for (const Seat& seat : found->seats)
    placed.push_back({ground.topology.hosts[seat.host].name, seat.device});
  return placed;
}

}  // namespace weft::runtime

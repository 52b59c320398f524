#include "scheduler/topology/topology.h"

#include <unordered_set>

namespace weft::scheduler {
namespace {

constexpr int kDevicesMax = 4096;

}  // namespace

int Topology::num_seats() const {
  int seats = 0;
  for (const Host& host : hosts) seats += host.healthy ? host.devices : 0;
  return seats;
}

Expected<void> check_topology(const Topology& topology) {
  std::string wrong;
  const auto say = [&](std::size_t i, const std::string& what) {
    wrong += (wrong.empty() ? "hosts: number " : "; number ") + std::to_string(i) + " (" +
             topology.hosts[i].name + ") " + what;
  };
  std::unordered_set<std::string> names;
  for (std::size_t i = 0; i < topology.hosts.size(); ++i) {
    const Host& host = topology.hosts[i];
    if (host.name.empty()) say(i, "has no name");
    if (!host.name.empty() && !names.insert(host.name).second) say(i, "has the name of another");
    if (host.devices < 1 || host.devices > kDevicesMax)
      say(i, "has " + std::to_string(host.devices) + " devices; 1 to " +
                 std::to_string(kDevicesMax) + " are possible");
    if (host.leaf < 0) say(i, "has leaf " + std::to_string(host.leaf) + "; 0 is the least");
  }
  if (!wrong.empty()) return fail(Code::InvalidArgument, wrong);
  const LinkCosts& costs = topology.costs;
  if (!(costs.inside >= 0 && costs.leaf >= 0 && costs.spine >= 0 && costs.off_rail >= 0))
    return fail(Code::InvalidArgument, "link costs must not be negative");
  return {};
}

}  // namespace weft::scheduler

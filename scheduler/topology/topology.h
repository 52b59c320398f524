// Where ranks can run: hosts with devices, under leaf switches, and what a byte costs between two
// of them. Plain values; a coordinator fills them from the nodes that announced themselves, a
// planner from a cluster description.
#pragma once

#include <string>
#include <vector>

#include "base/expected.h"

namespace weft::scheduler {

struct Host {
  std::string name;
  int leaf = 0;  // the switch (or rack) that fails as one, and that it shares with its neighbours
  int devices = 1;      // ranks that it can take
  bool healthy = true;  // false: nothing is put here; replace() moves away what is
  friend bool operator==(const Host&, const Host&) = default;
};

/// A place for one rank. Device i of every host hangs on rail i.
struct Seat {
  int host = 0;
  int device = 0;
  friend bool operator==(const Seat&, const Seat&) = default;
};

/// Seconds a byte, by the link class of two seats.
struct LinkCosts {
  double inside = 1 / 160e9;    // one host. DeepSeek-V3 report 3.2.2: NVLink, effective
  double leaf = 1 / 50e9;       // the same leaf switch. Same source: one 400 Gb/s NIC a GPU
  double spine = 1 / 40e9;      // over the spine: as the leaf, a quarter more for shared up-links
  double off_rail = 1 / 160e9;  // more, when device indices differ: one hop inside a host first
};

struct Topology {
  std::vector<Host> hosts;
  LinkCosts costs;

  /// Seconds a byte from one seat to another; 0 for the same seat.
  double cost(const Seat& a, const Seat& b) const {
    if (a.host == b.host) return a.device == b.device ? 0 : costs.inside;
    const double across = hosts[a.host].leaf == hosts[b.host].leaf ? costs.leaf : costs.spine;
    return across + (a.device == b.device ? 0 : costs.off_rail);
  }
  /// Devices of healthy hosts.
  int num_seats() const;
};

/// Errors: InvalidArgument with every host that is wrong (no name, a name twice, no devices).
Expected<void> check_topology(const Topology& topology);

}  // namespace weft::scheduler

// Which ranks share a node's memory, and which other node keeps a replica of a node's part of a
// copy of the state.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace weft::runtime {

/// The nodes of a generation, by their lowest rank. A node's number is also its part of a copy.
struct CopyNodes {
  std::vector<std::string> names;
  std::vector<std::vector<int>> ranks;  // by node, ascending
  std::vector<int> node_of_rank;
  std::vector<int> partner;  // by node: who keeps a replica of its part; -1: it is the only node

  int size() const { return static_cast<int>(names.size()); }
  /// The rank that speaks for a node: its lowest.
  int carrier(int node) const { return ranks[static_cast<std::size_t>(node)].front(); }
  bool carries(int rank) const {
    return carrier(node_of_rank[static_cast<std::size_t>(rank)]) == rank;
  }
  /// The part of which this node keeps a replica, or -1.
  int replica_of(int node) const;
};

/// By node: its partner. Every node is the partner of exactly one other, and where the largest leaf
/// has at most half of the nodes, no node's partner hangs on the same leaf. `leaves`: by node, ""
/// is a leaf too. Of a single node -1. Pure.
std::vector<int> copy_partners(std::span<const std::string> leaves);

/// Collective: each rank says where it is. Errors: those of the group.
Expected<CopyNodes> find_copy_nodes(comm::Communicator& world, const std::string& node,
                                    const std::string& leaf);

}  // namespace weft::runtime

// Which node each rank of a group lives on: a plain value, equal on every rank. It decides the way
// of an expert exchange and, whatever the way, the order of its sums.
#pragma once

#include <cstddef>
#include <vector>

#include "base/expected.h"

namespace weft::comm {

/// Nodes are numbered in the order of their lowest rank, the ranks inside a node ascending; ranks
/// of equal index on different nodes are a *rail*. A default map is empty: every rank on one node.
class NodeMap {
 public:
  NodeMap() = default;
  /// node_of_rank[r]: any number that tells nodes apart. Every node must hold equally many ranks,
  /// because a token enters a node at the rank of its own index.
  /// Errors: InvalidArgument, naming two nodes that differ.
  static Expected<NodeMap> make(const std::vector<int>& node_of_rank);
  static NodeMap one_node(int num_ranks);
  /// Ranks 0..n-1 on node 0, the next n on node 1, and so on.
  static NodeMap blocks(int num_nodes, int ranks_per_node);

  bool empty() const { return node_of_.empty(); }
  int num_ranks() const { return static_cast<int>(node_of_.size()); }
  int num_nodes() const { return num_nodes_; }
  int ranks_per_node() const { return num_nodes_ == 0 ? 0 : num_ranks() / num_nodes_; }
  int node_of(int rank) const { return node_of_[static_cast<std::size_t>(rank)]; }
  int index_of(int rank) const { return index_of_[static_cast<std::size_t>(rank)]; }
  int rank_at(int node, int index) const {
    return by_node_[static_cast<std::size_t>(node * ranks_per_node() + index)];
  }

  friend bool operator==(const NodeMap&, const NodeMap&) = default;

 private:
  int num_nodes_ = 0;
  std::vector<int> node_of_, index_of_;  // per rank
  std::vector<int> by_node_;             // ranks, node after node
};

}  // namespace weft::comm

#include "comm/exchange/node_map.h"

#include <algorithm>

#include "base/check.h"

namespace weft::comm {

Expected<NodeMap> NodeMap::make(const std::vector<int>& node_of_rank) {
  NodeMap map;
  std::vector<int> names;
  std::vector<std::vector<int>> ranks;
  for (std::size_t rank = 0; rank < node_of_rank.size(); ++rank) {
    const auto known = std::find(names.begin(), names.end(), node_of_rank[rank]);
    const auto node = static_cast<std::size_t>(known - names.begin());
    if (known == names.end()) {
      names.push_back(node_of_rank[rank]);
      ranks.emplace_back();
    }
    map.node_of_.push_back(static_cast<int>(node));
    map.index_of_.push_back(static_cast<int>(ranks[node].size()));
    ranks[node].push_back(static_cast<int>(rank));
  }
  map.num_nodes_ = static_cast<int>(names.size());
  for (std::size_t node = 0; node < ranks.size(); ++node) {
    if (ranks[node].size() != ranks[0].size())
      return fail(Code::InvalidArgument,
                  "node " + std::to_string(names[node]) + " holds " +
                      std::to_string(ranks[node].size()) + " ranks of the group, node " +
                      std::to_string(names[0]) + " holds " + std::to_string(ranks[0].size()) +
                      "; an exchange over nodes needs equally many on each: place the group so, " +
                      "or leave the node map out");
    map.by_node_.insert(map.by_node_.end(), ranks[node].begin(), ranks[node].end());
  }
  return map;
}

NodeMap NodeMap::one_node(int num_ranks) { return blocks(1, num_ranks); }

NodeMap NodeMap::blocks(int num_nodes, int ranks_per_node) {
  std::vector<int> node_of_rank;
  for (int rank = 0; rank < num_nodes * ranks_per_node; ++rank)
    node_of_rank.push_back(rank / ranks_per_node);
  auto map = make(node_of_rank);
  WEFT_CHECK(map.has_value(), "blocks are of equal size");
  return std::move(*map);
}

}  // namespace weft::comm

#include "runtime/worker/copy_nodes.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace weft::runtime {

int CopyNodes::replica_of(int node) const {
  const auto found = std::ranges::find(partner, node);
  return found == partner.end() ? -1 : static_cast<int>(found - partner.begin());
}

/// In the order of their leaves each node's partner is as many places further as the largest leaf
/// has nodes: that leads out of every leaf, if anything does.
std::vector<int> copy_partners(std::span<const std::string> leaves) {
  const std::size_t n = leaves.size();
  if (n < 2) return std::vector<int>(n, -1);
  std::map<std::string, std::size_t> sizes;
  for (const std::string& leaf : leaves) ++sizes[leaf];
  std::size_t shift = 1;
  for (const auto& [leaf, size] : sizes) shift = std::max(shift, size);
  if (shift == n) shift = 1;  // one leaf, or none is known: the next node
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t node) { return leaves[node]; });
  std::vector<int> partner(n);
  for (std::size_t i = 0; i < n; ++i) partner[order[i]] = static_cast<int>(order[(i + shift) % n]);
  return partner;
}

Expected<CopyNodes> find_copy_nodes(comm::Communicator& world, const std::string& node,
                                    const std::string& leaf) {
  WEFT_TRY_ASSIGN(const auto said, comm::all_gather_text(world, node + "\n" + leaf));
  CopyNodes nodes;
  std::vector<std::string> leaves;
  std::map<std::string, int> index;
  for (std::size_t rank = 0; rank < said.size(); ++rank) {
    const std::size_t line = std::min(said[rank].find('\n'), said[rank].size());
    const std::string name = said[rank].substr(0, line);
    const auto [known, made] = index.try_emplace(name, nodes.size());
    if (made) {
      nodes.names.push_back(name);
      nodes.ranks.emplace_back();
      leaves.push_back(said[rank].substr(std::min(line + 1, said[rank].size())));
    }
    nodes.ranks[static_cast<std::size_t>(known->second)].push_back(static_cast<int>(rank));
    nodes.node_of_rank.push_back(known->second);
  }
  nodes.partner = copy_partners(leaves);
  return nodes;
}

}  // namespace weft::runtime

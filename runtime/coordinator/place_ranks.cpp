#include "runtime/coordinator/place_ranks.h"

#include <algorithm>
#include <map>
#include <set>

namespace weft::runtime {
namespace {

/// The free slots of the nodes that may be used.
class Room {
 public:
  explicit Room(const std::vector<NodeRoom>& nodes) : order_(nodes) {
    for (const NodeRoom& node : nodes) {
      std::set<int>& slots = free_[node.node];  // there also when it has none
      for (int slot = 0; slot < node.slots; ++slot) slots.insert(slot);
    }
  }

  bool take(const RankPlacement& wanted) {
    const auto found = free_.find(wanted.node);
    return found != free_.end() && found->second.erase(wanted.slot) == 1;
  }

  int free_of(const std::string& node) const {
    return static_cast<int>(free_.find(node)->second.size());
  }

  /// The node whose room fits `count` ranks most closely, the earlier one of equals; null: none has
  /// so much.
  const std::string* fitting(int count) const {
    const std::string* best = nullptr;
    int best_room = 0;
    for (const NodeRoom& node : order_) {
      const int room = free_of(node.node);
      if (room < count || (best != nullptr && room >= best_room)) continue;
      best = &node.node;
      best_room = room;
      if (room == count) break;
    }
    return best;
  }

  int lowest(const std::string& node) {
    std::set<int>& slots = free_[node];
    const int slot = *slots.begin();
    slots.erase(slots.begin());
    return slot;
  }

  const std::vector<NodeRoom>& order() const { return order_; }

 private:
  std::vector<NodeRoom> order_;
  std::map<std::string, std::set<int>> free_;
};

/// Ranks without a place, in blocks that were together.
std::vector<std::vector<int>> blocks_to_move(const std::vector<RankPlacement>& placed,
                                             const std::vector<RankPlacement>& before) {
  std::vector<std::vector<int>> blocks;
  std::map<std::string, std::size_t> of_node;
  for (int rank = 0; rank < static_cast<int>(placed.size()); ++rank) {
    if (!placed[rank].node.empty()) continue;
    const std::string& from = before.empty() ? std::string() : before[rank].node;
    const auto [entry, made] = of_node.try_emplace(from, blocks.size());
    if (made) blocks.emplace_back();
    blocks[entry->second].push_back(rank);
  }
  return blocks;
}

}  // namespace

Expected<std::vector<RankPlacement>> place_ranks(const std::vector<NodeRoom>& nodes,
                                                 const std::vector<RankPlacement>& before,
                                                 int world) {
  int slots = 0;
  for (const NodeRoom& node : nodes) slots += std::max(node.slots, 0);
  if (slots < world)
    return fail(Code::Unavailable, std::to_string(world) + " slots are needed and " +
                                       std::to_string(slots) + " are there on " +
                                       std::to_string(nodes.size()) + " nodes");
  Room room(nodes);
  std::vector<RankPlacement> placed(world);
  const bool known = static_cast<int>(before.size()) == world;
  for (int rank = 0; known && rank < world; ++rank)
    if (room.take(before[rank])) placed[rank] = before[rank];

  std::vector<int> rest;
  for (const std::vector<int>& block :
       blocks_to_move(placed, known ? before : std::vector<RankPlacement>())) {
    const std::string* node = room.fitting(static_cast<int>(block.size()));
    if (node == nullptr) {
      rest.insert(rest.end(), block.begin(), block.end());
      continue;
    }
    for (const int rank : block) placed[rank] = {*node, room.lowest(*node)};
  }
  auto node = room.order().begin();
  for (const int rank : rest) {
    while (room.free_of(node->node) == 0) ++node;
    placed[rank] = {node->node, room.lowest(node->node)};
  }
  return placed;
}

}  // namespace weft::runtime

#include "runtime/coordinator/place_ranks.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/rng.h"
#include "runtime/coordinator/place_by_leaf.h"

namespace weft::runtime {
namespace {

TEST(PlaceRanks, FillsNodesInTheirOrderSoThatNeighboursStayTogether) {
  const auto placed = place_ranks({{"a", 2}, {"b", 2}}, {}, 4);
  ASSERT_TRUE(placed);
  EXPECT_EQ(*placed, (std::vector<RankPlacement>{{"a", 0}, {"a", 1}, {"b", 0}, {"b", 1}}));
}

TEST(PlaceRanks, SurvivorsStayAndALostNodesRanksMoveTogether) {
  const auto before = place_ranks({{"a", 2}, {"b", 2}, {"c", 2}}, {}, 6);
  const auto placed = place_ranks({{"a", 2}, {"c", 2}, {"d", 1}, {"e", 3}}, *before, 6);
  ASSERT_TRUE(placed);
  for (const int rank : {0, 1, 4, 5}) EXPECT_EQ((*placed)[rank], (*before)[rank]);
  EXPECT_EQ((*placed)[2], (RankPlacement{"e", 0}));
  EXPECT_EQ((*placed)[3], (RankPlacement{"e", 1}));
}

TEST(PlaceRanks, SpreadsABlockThatFitsNowhere) {
  const auto before = place_ranks({{"a", 2}, {"b", 2}}, {}, 4);
  const auto placed = place_ranks({{"a", 2}, {"c", 1}, {"d", 1}}, *before, 4);
  ASSERT_TRUE(placed);
  EXPECT_EQ((*placed)[2].node, "c");
  EXPECT_EQ((*placed)[3].node, "d");
}

TEST(PlaceRanks, SaysHowManySlotsAreMissing) {
  const auto placed = place_ranks({{"a", 2}}, {}, 3);
  ASSERT_FALSE(placed);
  EXPECT_EQ(placed.error().code, Code::Unavailable);
  EXPECT_NE(placed.error().message.find("3 slots are needed and 2 are there"), std::string::npos);
}

TEST(PlaceRanks, NeverUsesASlotTwiceNorOneThatIsNotThere) {
  Rng rng(3, "placements");
  for (int round = 0; round < 300; ++round) {
    std::vector<NodeRoom> nodes;
    std::map<std::string, int> slots;
    int room = 0;
    for (std::uint32_t i = 0; i < 1 + rng.below(8); ++i) {
      nodes.push_back({"n" + std::to_string(i), static_cast<int>(rng.below(5))});
      slots[nodes.back().node] = nodes.back().slots;
      room += nodes.back().slots;
    }
    const int world = 1 + static_cast<int>(rng.below(12));
    std::vector<RankPlacement> before;
    if (rng.below(2) == 0)
      for (int rank = 0; rank < world; ++rank)
        before.push_back({"n" + std::to_string(rng.below(10)), static_cast<int>(rng.below(5))});
    const auto placed = place_ranks(nodes, before, world);
    ASSERT_EQ(placed.has_value(), room >= world);
    if (!placed) continue;
    std::set<std::pair<std::string, int>> used;
    for (const RankPlacement& place : *placed) {
      EXPECT_TRUE(used.insert({place.node, place.slot}).second);
      EXPECT_LT(place.slot, slots.at(place.node));
    }
  }
}

/// Four nodes of two under two leaves, pipeline 2 x data 4, experts over 4.
const scheduler::Layout kEight = {dualpipe::Kind::OneFOneB, 2, 4, 4, 4};

std::string leaf_of(const std::vector<NodeRoom>& nodes, const std::string& name) {
  for (const NodeRoom& node : nodes)
    if (node.node == name) return node.leaf;
  return "none";
}

TEST(PlaceByLeaf, KeepsAnExpertGroupUnderOneLeafWhateverTheOrderOfTheNodes) {
  const std::vector<NodeRoom> nodes = {{"a", 2, "x"}, {"b", 2, "y"}, {"c", 2, "x"}, {"d", 2, "y"}};
  const auto placed = place_by_leaf(nodes, {}, kEight);
  ASSERT_TRUE(placed);
  for (int rank = 0; rank < 8; ++rank)
    EXPECT_EQ(leaf_of(nodes, (*placed)[rank].node),
              leaf_of(nodes, (*placed)[rank < 4 ? 0 : 4].node));
  EXPECT_EQ(*placed, *place_by_leaf(nodes, {}, kEight)) << "the same question, the same answer";
}

TEST(PlaceByLeaf, OfALostNodeOnlyItsRanksMoveAndToTheSameLeafWhereThereIsRoom) {
  std::vector<NodeRoom> nodes = {{"a", 2, "x"}, {"b", 2, "x"}, {"c", 2, "y"},
                                 {"d", 2, "y"}, {"e", 2, "x"}, {"f", 2, "y"}};
  const auto before = place_by_leaf(nodes, {}, kEight);
  ASSERT_TRUE(before);
  const std::string lost = (*before)[7].node, leaf = leaf_of(nodes, lost);
  std::erase_if(nodes, [&](const NodeRoom& node) { return node.node == lost; });
  const auto placed = place_by_leaf(nodes, *before, kEight);
  ASSERT_TRUE(placed);
  for (int rank = 0; rank < 8; ++rank) {
    if ((*before)[rank].node != lost)
      EXPECT_EQ((*placed)[rank], (*before)[rank]);
    else
      EXPECT_EQ(leaf_of(nodes, (*placed)[rank].node), leaf);
  }
}

TEST(PlaceByLeaf, SaysNothingWhereItCannotTell) {
  EXPECT_FALSE(place_by_leaf({{"a", 4, "x"}, {"b", 4, ""}}, {}, kEight)) << "a node without a leaf";
  EXPECT_FALSE(place_by_leaf({{"a", 4, "x"}}, {}, kEight)) << "too few slots";
  const std::vector<RankPlacement> twice(8, {"a", 0});
  EXPECT_FALSE(place_by_leaf({{"a", 8, "x"}}, twice, kEight)) << "two ranks in one slot";
}

}  // namespace
}  // namespace weft::runtime

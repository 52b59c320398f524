#include "runtime/coordinator/place_ranks.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/rng.h"

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

}  // namespace
}  // namespace weft::runtime

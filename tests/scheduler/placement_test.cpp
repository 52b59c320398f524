#include "scheduler/placement.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace weft::scheduler {
namespace {

using dualpipe::Kind;

TEST(Placement, DualPipePositionHoldsAStageOfEachDirection) {
  const auto placement = place({Kind::DualPipe, 4, 2, 2, 8}, 6);
  ASSERT_TRUE(placement) << placement.error().message;
  EXPECT_EQ(placement->ranks[2].position, 1);
  EXPECT_EQ(placement->ranks[2].stages, (std::vector<int>{1, 2}));
  EXPECT_EQ(placement->holders(0), (std::vector<int>{0, 1, 6, 7}));
}

TEST(Placement, LayersAreSpreadEvenlyWithTheRestInTheMiddle) {
  const auto placement = place({Kind::OneFOneB, 4, 1, 1, 4}, 6);
  ASSERT_TRUE(placement);
  EXPECT_EQ(placement->stages, (std::vector<StageLayers>{{0, 1}, {1, 2}, {3, 2}, {5, 1}}));
}

TEST(Placement, EveryLayerHasExactlyOneStage) {
  for (int pipeline = 1; pipeline <= 8; ++pipeline)
    for (int layers = pipeline; layers <= 30; ++layers) {
      const auto placement = place({Kind::OneFOneB, pipeline, 1, 1, pipeline}, layers);
      ASSERT_TRUE(placement);
      int next = 0;
      for (const StageLayers& stage : placement->stages) {
        EXPECT_EQ(stage.first, next);
        EXPECT_GE(stage.count, 1);
        next += stage.count;
      }
      EXPECT_EQ(next, layers);
    }
}

TEST(Placement, EachExpertShardOfAStageIsHeldByItsReplicaGroupOnly) {
  const auto placement = place({Kind::DualPipe, 2, 4, 2, 4}, 2);
  ASSERT_TRUE(placement);
  std::map<std::string, std::vector<int>> by_name;
  for (const Group& group : groups(*placement)) {
    EXPECT_TRUE(by_name.emplace(group.name, group.ranks).second) << group.name << " twice";
  }
  EXPECT_EQ(by_name[replica_group(0, 1)], (std::vector<int>{1, 3, 5, 7}));
  EXPECT_EQ(by_name[expert_group(1, 1)], (std::vector<int>{6, 7}));
  EXPECT_EQ(by_name[pipeline_group(2)], (std::vector<int>{2, 6}));
  EXPECT_EQ(by_name[dense_group(1)].size(), 8u);
}

TEST(Placement, ChunksOfAllLanesAndDirectionsCoverTheGlobalBatchOnce) {
  const Layout layout{Kind::DualPipe, 2, 3, 1, 4};
  std::set<int> seen;
  for (int lane = 0; lane < 3; ++lane)
    for (int direction = 0; direction < 2; ++direction)
      for (int i = 0; i < 2; ++i) seen.insert(micro_batch_index(layout, lane, direction, i));
  EXPECT_EQ(seen.size(), 12u);
  EXPECT_EQ(*seen.rbegin(), 11);
}

TEST(Placement, WhatDoesNotFitIsRefusedByName) {
  EXPECT_NE(place({Kind::OneFOneB, 1, 3, 2, 1}, 2).error().message.find("must divide"),
            std::string::npos);
  EXPECT_FALSE(place({Kind::DualPipe, 3, 1, 1, 6}, 8));
  EXPECT_NE(place({Kind::OneFOneB, 4, 1, 1, 4}, 3).error().message.find("num_hidden_layers"),
            std::string::npos);
}

TEST(Placement, WithANextTokenModuleBothEndsTakeFewerLayers) {
  // DeepSeek-V3: 61 layers and one module on 16 stages.
  const auto placement = place({dualpipe::Kind::DualPipe, 16, 1, 1, 32}, 61, 1);
  ASSERT_TRUE(placement) << placement.error().message;
  EXPECT_EQ(placement->stages.front().count, 3);
  EXPECT_EQ(placement->stages.back().count, 2);
  for (std::size_t s = 1; s + 1 < placement->stages.size(); ++s)
    EXPECT_EQ(placement->stages[s].count, 4) << s;
}

}  // namespace
}  // namespace weft::scheduler

// Where copies of the state are kept: each node's partner, and which files go where before a copy
// is read.
#include "runtime/worker/copy_nodes.h"

#include <gtest/gtest.h>

#include <set>

#include "runtime/worker/spread_copy.h"

namespace weft::runtime {
namespace {

std::vector<std::string> leaves_of(const std::vector<int>& sizes) {
  std::vector<std::string> leaves;
  for (std::size_t leaf = 0; leaf < sizes.size(); ++leaf)
    leaves.insert(leaves.end(), static_cast<std::size_t>(sizes[leaf]),
                  "leaf" + std::to_string(leaf));
  return leaves;
}

TEST(CopyPartners, OfASingleNodeThereIsNone) {
  EXPECT_EQ(copy_partners(std::vector<std::string>{""}), std::vector<int>{-1});
}

TEST(CopyPartners, WithoutKnownLeavesItIsTheNextNode) {
  EXPECT_EQ(copy_partners(std::vector<std::string>(4)), (std::vector<int>{1, 2, 3, 0}));
}

TEST(CopyPartners, EveryNodeIsThePartnerOfExactlyOneOther) {
  for (const auto& sizes : {std::vector{1, 1}, {5, 1}, {3, 3}, {4, 2, 1}, {7}, {2, 2, 2, 3}}) {
    const std::vector<std::string> leaves = leaves_of(sizes);
    const std::vector<int> partners = copy_partners(leaves);
    EXPECT_EQ(std::set<int>(partners.begin(), partners.end()).size(), leaves.size());
    for (std::size_t node = 0; node < leaves.size(); ++node)
      EXPECT_NE(partners[node], static_cast<int>(node));
  }
}

TEST(CopyPartners, HangsOnAnotherLeafWhereNoLeafHasMoreThanHalfOfTheNodes) {
  for (const auto& sizes : {std::vector{1, 1}, {3, 3}, {4, 2, 2}, {2, 2, 2, 3}, {5, 1, 4}}) {
    std::vector<std::string> leaves = leaves_of(sizes);
    std::swap(leaves.front(), leaves.back());
    const std::vector<int> partners = copy_partners(leaves);
    for (std::size_t node = 0; node < leaves.size(); ++node)
      EXPECT_NE(leaves[node], leaves[static_cast<std::size_t>(partners[node])]) << "node " << node;
  }
}

TEST(PlanSpread, MovesWhatIsNeededAndNotThereAndHoldersTakeTurns) {
  const auto moves = plan_spread({{true, true}, {true, false}, {}, {}},
                                 {{true, false}, {false, true}, {true, true}, {true, false}});
  ASSERT_TRUE(moves);
  EXPECT_EQ(*moves, (std::vector<FileMove>{{0, 0, 2}, {0, 1, 3}, {1, 0, 1}, {1, 0, 2}}));
}

TEST(PlanSpread, WhatNobodyHasIsAnError) {
  const auto moves = plan_spread({{true, false}, {}}, {{true, false}, {true, true}});
  ASSERT_FALSE(moves);
  EXPECT_EQ(moves.error().code, Code::Corrupt);
}

}  // namespace
}  // namespace weft::runtime

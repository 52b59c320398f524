#include "runtime/coordinator_shell/flagged_ranks.h"

#include <gtest/gtest.h>

namespace weft::runtime {
namespace {

std::string event(const std::string& kind, const std::string& details) {
  return R"({"type":"event","seq":3,"kind":")" + kind + R"(","message":"why","details":)" +
         details + "}";
}

TEST(FlaggedRanks, AStragglerThatLastsIsFlaggedAndAFirstWarningIsNot) {
  const auto flagged = flagged_in(4, event("straggler", R"({"rank":2,"swap":true})"));
  ASSERT_EQ(flagged.size(), 1u);
  EXPECT_EQ(flagged[0].generation, 4);
  EXPECT_EQ(flagged[0].rank, 2);
  EXPECT_EQ(flagged[0].reason, "why");
  EXPECT_FALSE(flagged[0].corrupt);
  EXPECT_TRUE(flagged_in(4, event("straggler", R"({"rank":2,"swap":false})")).empty());
}

TEST(FlaggedRanks, OnlyOneRankThatIsProvenWrongIsFlagged) {
  const auto flagged = flagged_in(1, event("corruption", R"({"step":7,"ranks":[3]})"));
  ASSERT_EQ(flagged.size(), 1u);
  EXPECT_EQ(flagged[0].rank, 3);
  EXPECT_TRUE(flagged[0].corrupt);
  EXPECT_TRUE(flagged_in(1, event("corruption", R"({"step":7,"ranks":[1,3]})")).empty());
  EXPECT_TRUE(flagged_in(1, event("corruption", R"({"step":7,"ranks":[]})")).empty());
}

TEST(FlaggedRanks, WhatCannotBeReadFlagsNobody) {
  for (const std::string& message :
       {std::string("\"straggler\""), event("straggler", "[]"), event("corruption", "{}"),
        event("straggler", R"({"rank":"two","swap":true})"),
        event("corruption", R"({"ranks":{"a":1}})"), std::string(R"({"type":"metrics"})")})
    EXPECT_TRUE(flagged_in(1, message).empty()) << message;
}

}  // namespace
}  // namespace weft::runtime

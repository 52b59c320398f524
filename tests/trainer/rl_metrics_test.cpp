#include <gtest/gtest.h>

#include <cmath>

#include "trainer/rl/metrics.h"

namespace weft::trainer::rl {
namespace {

Outcome outcome(double accuracy, double format, int length, int difficulty,
                bool truncated = false) {
  Outcome o;
  o.score.total = accuracy + 0.2 * format;
  o.score.components = {{"accuracy.answer", accuracy}, {"format.think_answer", format}};
  o.correct = accuracy == 1.0;
  o.length = length;
  o.difficulty = difficulty;
  o.truncated = truncated;
  return o;
}

TEST(Summarize, IsWhatOneWouldCountByHand) {
  const std::vector<Outcome> outcomes = {
      outcome(1, 1, 10, 2), outcome(1, 1, 12, 2),  // equal rewards
      outcome(0, 1, 20, 6), outcome(1, 0, 30, 6, /*truncated=*/true)};
  const StepSummary summary = summarize(outcomes, 2);
  EXPECT_NEAR(summary.reward_mean, (1.2 + 1.2 + 0.2 + 1.0) / 4, 1e-12);
  EXPECT_NEAR(summary.reward_std, std::sqrt((0.09 + 0.09 + 0.49 + 0.01) / 3), 1e-12);
  ASSERT_EQ(summary.component_means.size(), 2u);
  EXPECT_EQ(summary.component_means[0].first, "accuracy.answer");
  EXPECT_EQ(summary.component_means[0].second, 0.75);
  EXPECT_EQ(summary.component_means[1].second, 0.75);
  EXPECT_EQ(summary.accuracy, 0.75);
  EXPECT_EQ(summary.length_mean, 18.0);
  EXPECT_EQ(summary.length_p95, 30.0);
  EXPECT_EQ(summary.truncated_share, 0.25);
  EXPECT_EQ(summary.zero_std_share, 0.5);
  ASSERT_EQ(summary.by_difficulty.size(), 2u);
  EXPECT_EQ(summary.by_difficulty[0].difficulty, 2);
  EXPECT_EQ(summary.by_difficulty[0].length, 11.0);
  EXPECT_EQ(summary.by_difficulty[0].accuracy, 1.0);
  EXPECT_EQ(summary.by_difficulty[1].difficulty, 6);
  EXPECT_EQ(summary.by_difficulty[1].count, 2);
  EXPECT_EQ(summary.by_difficulty[1].length, 25.0);
  EXPECT_EQ(summary.by_difficulty[1].accuracy, 0.5);
}

TEST(Summarize, ThePercentileIsTheNearestRank) {
  std::vector<Outcome> outcomes;
  for (int length = 100; length >= 1; --length) outcomes.push_back(outcome(0, 0, length, 1));
  EXPECT_EQ(summarize(outcomes, 10).length_p95, 95.0);
  outcomes.resize(20);  // 100 down to 81
  EXPECT_EQ(summarize(outcomes, 10).length_p95, 99.0);
  outcomes.resize(1);
  EXPECT_EQ(summarize(outcomes, 1).length_p95, 100.0);
}

TEST(Summarize, NothingGivesZeros) {
  const StepSummary summary = summarize({}, 8);
  EXPECT_EQ(summary.reward_mean, 0.0);
  EXPECT_TRUE(summary.by_difficulty.empty());
}

}  // namespace
}  // namespace weft::trainer::rl

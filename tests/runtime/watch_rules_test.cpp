// Who is slow, and whose numbers differ: the rules alone.
#include <gtest/gtest.h>

#include "runtime/watch/outputs.h"
#include "runtime/watch/stragglers.h"

namespace weft::runtime {
namespace {

using What = OutputPair::What;

/// Four ranks, two by two with the same stages; `times` for one step after the other.
std::vector<StragglerFinding> watch(const std::vector<std::vector<double>>& times, int window = 2,
                                    double work = 1) {
  StragglerState state;
  std::vector<StragglerFinding> found;
  long long step = 0;
  for (const std::vector<double>& one : times)
    found.push_back(watch_stragglers(state, ++step, one, work, std::vector{0, 0, 1, 1},
                                     {.threshold = 0.75, .window = window}));
  return found;
}

TEST(Stragglers, AreFlaggedAgainstTheBestOfTheirPeersAndSinceWhen) {
  const auto found = watch({{1, 1, 4, 4}, {1, 1, 4, 4}, {1, 2, 4, 4}, {1, 2, 4, 4}});
  EXPECT_FALSE(found[0].scored);
  EXPECT_TRUE(found[1].scored);
  EXPECT_TRUE(found[1].changes.empty()) << "other stages may take longer";
  ASSERT_EQ(found[3].changes.size(), 1u);
  const StragglerChange& change = found[3].changes[0];
  EXPECT_EQ(change.rank, 1);
  EXPECT_TRUE(change.flagged);
  EXPECT_FALSE(change.lasts);
  EXPECT_EQ(change.since, 3);
  EXPECT_EQ(change.score.relative, 0.5);
  EXPECT_EQ(change.score.individual, 0.5);
  EXPECT_EQ(describe(change, {}),
            "rank 1 takes 2.00 times as long as the best of its peers since step 3 (relative score "
            "0.50, individual 0.50)");
}

TEST(Stragglers, AreReportedWhileItLastsAndWhenItIsOver) {
  const auto found = watch({{1, 2, 1, 1}, {1, 2, 1, 1}, {1, 1, 1, 1}}, 1);
  ASSERT_EQ(found[1].changes.size(), 1u);
  EXPECT_TRUE(found[1].changes[0].lasts);
  EXPECT_EQ(found[1].changes[0].since, 1);
  ASSERT_EQ(found[2].changes.size(), 1u);
  EXPECT_FALSE(found[2].changes[0].flagged);
}

TEST(Stragglers, AWholeStageThatSlowsDownIsSeenByItsIndividualScore) {
  const auto found = watch({{1, 1, 1, 1}, {1, 1, 2, 2}}, 1);
  ASSERT_EQ(found[1].changes.size(), 2u);
  EXPECT_EQ(found[1].changes[0].rank, 2);
  EXPECT_EQ(found[1].changes[0].score.relative, 1);
  EXPECT_EQ(found[1].changes[0].score.individual, 0.5);
}

TEST(Stragglers, AreNotMadeBySingleSlowStepsNorByMoreWorkNorByStepsWithoutTimes) {
  EXPECT_TRUE(watch({{1, 1, 1, 1}, {1, 9, 1, 1}, {1, 1, 1, 1}}, 3)[2].changes.empty());
  StragglerState state;
  const std::vector peers{0, 0};
  const StragglerOptions options{.threshold = 0.75, .window = 1};
  EXPECT_TRUE(
      watch_stragglers(state, 1, std::vector{1.0, 1.0}, 10, peers, options).changes.empty());
  EXPECT_TRUE(
      watch_stragglers(state, 2, std::vector{3.0, 3.0}, 30, peers, options).changes.empty());
  EXPECT_FALSE(watch_stragglers(state, 3, std::vector{3.0, 0.0}, 30, peers, options).scored);
}

OutputPair pair(What what, int stage, int micro_batch, int rank, bool differs) {
  OutputPair one;
  one.what = what;
  one.stage = stage;
  one.micro_batch = micro_batch;
  one.rank = one.rank_before = rank;
  one.second = differs ? 1 : 0;
  return one;
}

/// One micro-batch through four stages on four ranks; `differs(what, stage)`.
template <class Differs>
std::vector<OutputPair> flow(Differs differs) {
  std::vector<OutputPair> all;
  for (int stage = 0; stage < 4; ++stage)
    for (const What what : {What::Forward, What::Backward, What::Gradient})
      all.push_back(pair(what, stage, 0, stage, differs(what, stage)));
  return all;
}

TEST(Outputs, OfAWrongActivationTheFirstStageThatGaveItIsNamed) {
  for (int wrong = 0; wrong < 4; ++wrong) {
    const auto found = find_disagreements(
        flow([&](What what, int stage) { return what != What::Forward || stage >= wrong; }), 4, 1,
        1);
    ASSERT_EQ(found.size(), 1u) << wrong;
    EXPECT_EQ(found[0].ranks, std::vector{wrong});
    EXPECT_EQ(found[0].output.what, What::Forward);
  }
}

TEST(Outputs, OfAWrongGradientTheFirstStageOfTheWayBackIsNamed) {
  for (int wrong = 0; wrong < 4; ++wrong) {
    const auto found = find_disagreements(flow([&](What what, int stage) {
                                            return what == What::Backward ? stage <= wrong
                                                                          : what == What::Gradient;
                                          }),
                                          4, 1, 1);
    ASSERT_EQ(found.size(), 1u) << wrong;
    EXPECT_EQ(found[0].ranks, std::vector{wrong});
  }
}

TEST(Outputs, AWeightGradientAloneNamesTheHoldersOfItsStage) {
  std::vector<OutputPair> all = flow([](What, int) { return false; });
  EXPECT_TRUE(find_disagreements(all, 4, 1, 1).empty());
  all.push_back(pair(What::Gradient, 2, 0, 1, true));
  all.push_back(pair(What::Gradient, 2, 0, 2, true));
  const auto found = find_disagreements(all, 4, 1, 1);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].ranks, (std::vector{1, 2}));
}

TEST(Outputs, LanesThatShareExpertsAreSuspectsTogetherOnlyWhereBothDiffer) {
  // Ranks 2 and 3 hold stage 1 and exchange tokens.
  std::vector<OutputPair> all = {
      pair(What::Forward, 0, 0, 0, false), pair(What::Forward, 0, 1, 1, false),
      pair(What::Forward, 1, 0, 2, true), pair(What::Forward, 1, 1, 3, true)};
  EXPECT_EQ(suspects(find_disagreements(all, 2, 2, 2)), (std::vector{2, 3}));
  all[3].second = 0;
  EXPECT_EQ(suspects(find_disagreements(all, 2, 2, 2)), std::vector{2});
}

}  // namespace
}  // namespace weft::runtime

#include "dualpipe/timeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "all_sizes.h"
#include "dualpipe/flow.h"

namespace weft::dualpipe {
namespace {

using testing::HasSubstr;

double makespan(Kind kind, int ranks, int n, const char* costs = "F=1,BI=1,W=1,FB=3") {
  return timeline(must_generate(kind, ranks, n), *parse_costs(costs))->makespan;
}

double worst_bubble(Kind kind, int ranks, int n, const Costs& costs) {
  const auto times = timeline(must_generate(kind, ranks, n), costs);
  return *std::max_element(times->bubble.begin(), times->bubble.end());
}

TEST(Timeline, GivesThePublishedMakespansAtUnitCost) {
  EXPECT_EQ(makespan(Kind::OneFOneB, 8, 20), 81);
  EXPECT_EQ(makespan(Kind::GPipe, 8, 20), 81);
  EXPECT_EQ(makespan(Kind::ZeroBubble, 8, 20), 67);
  EXPECT_EQ(makespan(Kind::DualPipe, 8, 20), 66);
  EXPECT_EQ(makespan(Kind::DualPipe, 8, 20, "FB=2.5"), 59);
  EXPECT_EQ(makespan(Kind::DualPipe, 8, 20, "FB=2"), 52);
  EXPECT_EQ(makespan(Kind::DualPipeV, 4, 10), 66);
}

TEST(Timeline, GivesTheKnownBubblesOfHalfSizedChunks) {
  const Costs unit;
  EXPECT_EQ(worst_bubble(Kind::Interleaved, 8, 20, unit), 21);
  EXPECT_EQ(worst_bubble(Kind::ZBV, 8, 20, unit), 7);
  EXPECT_EQ(worst_bubble(Kind::DualPipeV, 8, 20, unit), 14);
}

TEST(Timeline, DualPipeBubbleSpreadsFromEndsToMiddleWhenPairsAreCheap) {
  const auto times = timeline(must_generate(Kind::DualPipe, 8, 20), *parse_costs("FB=2.5"));
  EXPECT_EQ(times->bubble.front(), 3.5);
  EXPECT_EQ(times->bubble[3], 4.5);
}

TEST(Bubble, OfOneFOneBIsTheFormulaForAnyCosts) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (int n = ranks; n <= 20; n += 3) {
      for (double b : {1.0, 2.0, 2.5}) {
        Costs costs;
        costs.op.b = b;
        EXPECT_DOUBLE_EQ(worst_bubble(Kind::OneFOneB, ranks, n, costs), (ranks - 1) * (1 + b));
      }
    }
  }
}

TEST(Bubble, OfZeroBubbleIsTheFormulaAtUnitCost) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (int n = 2 * ranks; n <= 24; ++n) {
      EXPECT_EQ(worst_bubble(Kind::ZeroBubble, ranks, n, {}), ranks - 1);
    }
  }
}

// Exact when BI = F and W <= F, for any cost of a pair between max(F, B) and F + B.
TEST(Bubble, OfDualPipeIsTheFormulaWhereItHolds) {
  for (int ranks = 4; ranks <= 16; ranks += 2) {
    for (int n : {2 * ranks, 3 * ranks, 5 * ranks}) {
      for (double w : {0.25, 0.5, 1.0}) {
        for (double share : {0.0, 0.3, 1.0}) {
          Costs costs;
          costs.op.w = w;
          costs.op.b = 1 + w;
          costs.op.fb = std::max(1.0, costs.op.b) + share * std::min(1.0, costs.op.b);
          const double formula = (ranks / 2 - 1) * (costs.op.fb + costs.op.b - 3 * w);
          EXPECT_NEAR(worst_bubble(Kind::DualPipe, ranks, n, costs), formula, 1e-9)
              << ranks << " ranks, " << n << " mb, W " << w << ", FB " << costs.op.fb;
        }
      }
    }
  }
}

TEST(Bubble, OfTheKindsWithHalfSizedChunksIsTheFormulaAtUnitCost) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (int n = 2 * ranks; n <= 24; ++n) {
      EXPECT_EQ(worst_bubble(Kind::ZBV, ranks, n, {}), ranks - 1) << ranks << " " << n;
      EXPECT_EQ(worst_bubble(Kind::DualPipeV, ranks, n, {}), 2 * (ranks - 1)) << ranks << " " << n;
      if (!check_size(Kind::Interleaved, {ranks, n, 2})) continue;
      EXPECT_EQ(worst_bubble(Kind::Interleaved, ranks, n, {}), 3 * (ranks - 1));
    }
  }
}

TEST(Bubble, OfDualPipeDoesNotDependOnTheMicroBatches) {
  for (int n = 16; n <= 60; n += 2) {
    EXPECT_EQ(worst_bubble(Kind::DualPipe, 8, n, {}), 6);
  }
}

TEST(Timeline, ARankWorksOnOneActionAtATimeAndWaitsForWhatItNeeds) {
  for_all_sizes(4, 10, [](const Schedule& schedule) {
    const auto times = timeline(schedule, *parse_costs("F=1,BI=1.5,W=0.5,send=0.25"));
    ASSERT_TRUE(times);
    for (std::size_t rank = 0; rank < schedule.programs.size(); ++rank) {
      double end = 0;
      for (const Slot& slot : times->slots[rank]) {
        ASSERT_TRUE(slot.ran);
        ASSERT_GE(slot.begin, end);
        end = slot.end;
      }
      ASSERT_NEAR(times->busy[rank] + times->bubble[rank], times->makespan, 1e-9);
    }
  });
}

TEST(Timeline, LatencyIsPaidOncePerHopOfTheRamp) {
  const Schedule schedule = must_generate(Kind::GPipe, 4, 1);
  EXPECT_EQ(timeline(schedule, *parse_costs("F=1,B=2,send=0.5"))->makespan, 4 * 3 + 6 * 0.5);
}

TEST(Timeline, ARankSendsOneMessageAtATimeOverItsLink) {
  // Messages of 3 units each leave rank 0 at 3, 6 and 9, whatever it computes meanwhile.
  const Schedule schedule = *generate_forward(Kind::GPipe, {2, 3, 1});
  const auto times = timeline(schedule, *parse_costs("F=1,bytes=30,bandwidth=10"));
  ASSERT_EQ(times->transfers.size(), 3u);
  EXPECT_EQ(times->transfers[2].begin, 7);
  EXPECT_EQ(times->transfers[2].end, 10);
  EXPECT_EQ(times->makespan, 11);
}

TEST(Timeline, ASlowRankHoldsUpTheOthers) {
  Costs costs;
  costs.per_rank.assign(4, {});
  costs.per_rank[2].f = 2;
  const Schedule schedule = must_generate(Kind::OneFOneB, 4, 8);
  const auto slow = timeline(schedule, costs);
  EXPECT_GT(slow->makespan, timeline(schedule)->makespan);
  EXPECT_EQ(slow->busy[2], 8 * 4);
  costs.per_rank.pop_back();
  EXPECT_THAT(timeline(schedule, costs).error().message, HasSubstr("costs are given for 3 ranks"));
}

TEST(Timeline, IsTheSameBeforeAndAfterLowering) {
  for_all_sizes(4, 10, [](const Schedule& schedule) {
    const Costs costs = *parse_costs("F=1,BI=1.2,W=0.8,send=0.3");
    ASSERT_EQ(timeline(schedule, costs)->makespan,
              timeline(add_step_end(add_messages(schedule)), costs)->makespan);
  });
}

TEST(Timeline, SaysWhoWaitsForWhomWhenNothingCanGoOn) {
  Schedule schedule = must_generate(Kind::GPipe, 2, 1);
  std::swap(schedule.programs[1][0], schedule.programs[1][1]);
  const auto times = timeline(schedule);
  ASSERT_FALSE(times);
  EXPECT_THAT(times.error().message,
              HasSubstr("position 1 at B dir 0 stage 1 mb 0 waits for the activation of dir 0 "
                        "stage 1 mb 0"));
}

TEST(ParseCosts, FillsInWhatIsNotGiven) {
  const Costs costs = *parse_costs("F=2,W=0.5");
  EXPECT_EQ(costs.op.b, 1.5);
  EXPECT_EQ(costs.op.fb, 3.5);
  EXPECT_EQ(costs.send, 0);
  EXPECT_EQ(parse_costs("")->op.fb, 3);
}

TEST(ParseCosts, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(parse_costs("G=1").error().message, HasSubstr("no cost is called 'G'"));
  for (const char* bad : {"F", "F=", "F=x", "F=-1", "F=nan", "F=inf", "F=1,,W=1", "F=1,F=2", "=1",
                          "F=1e99", "F=1 ", ","}) {
    EXPECT_FALSE(parse_costs(bad)) << bad;
  }
}

}  // namespace
}  // namespace weft::dualpipe

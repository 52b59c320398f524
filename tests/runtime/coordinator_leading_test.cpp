// Taking over, giving up the lead, and a run directory that cannot be written.
#include <gtest/gtest.h>

#include "tests/runtime/coordinator_bench.h"

namespace weft::runtime {
namespace {

using namespace std::chrono_literals;
using Bench = CoordinatorBench;

TEST(Coordinator, TakesOverFromTheJournalWithoutEndingTheGeneration) {
  Bench bench(4);
  bench.run(2, 2);
  bench.all(WorkerPhase::Working, 12);
  bench.tell(TermBegan{2, "b", {}, ""});
  bench.actions.clear();
  bench.all(WorkerPhase::Working, 13);
  EXPECT_EQ(bench.state.phase, RunPhase::Running);
  EXPECT_EQ(bench.state.generation, 1);
  EXPECT_EQ(bench.count<ClaimGeneration>(), 0);
  EXPECT_EQ(bench.last<SendOrder>()->order.wanted, Wanted::Work);
  EXPECT_EQ(bench.last<SendOrder>()->order.term, 2);
}

TEST(Coordinator, ANodeWhoseLeaderFellSilentIsLostSoonerThanMembersThatMayStillLookForTheNewOne) {
  Bench bench(4);
  bench.run(3, 2);
  bench.all(WorkerPhase::Working, 12);
  bench.silent = {"a", "b"};
  bench.tell(TermBegan{2, "c", {}, "a"});
  bench.beat(2800ms);
  EXPECT_FALSE(bench.said("is lost"));
  bench.beat(600ms);
  EXPECT_TRUE(bench.said("node a is lost: no report for 3 s"));
  EXPECT_FALSE(bench.said("node b is lost"));
  bench.beat(5s);
  EXPECT_TRUE(bench.said("node b is lost: no report for 8 s"));
}

TEST(Coordinator, OfALeaderThatGaveUpOrWasStartedAgainNothingIsAssumed) {
  Bench bench(4);
  bench.run(2, 2);
  bench.silent = {"a"};
  bench.tell(TermBegan{2, "b", {}, ""});
  bench.beat(7s);
  EXPECT_FALSE(bench.said("is lost"));
}

TEST(Coordinator, StepsDownForALaterTermAndDecidesNothingMore) {
  Bench bench(2);
  bench.run(1, 2);
  bench.tell(LeaseRenewed{2});
  ASSERT_EQ(bench.count<StepDown>(), 1);
  bench.actions.clear();
  bench.die(0);
  bench.tell(Tick{});
  EXPECT_TRUE(bench.actions.empty());
}

TEST(Coordinator, FailsTheRunWhenTheRunDirectoryStaysUnwritable) {
  Bench bench(2);
  bench.run(1, 2);
  bench.tell(ShellFailed{{Code::Io, "write runs/x/journal: no space left on device"}, false});
  bench.beat(30s);
  EXPECT_EQ(bench.state.outcome, Outcome::Undecided);
  bench.tell(ShellRecovered{});
  bench.beat(60s);
  EXPECT_EQ(bench.state.outcome, Outcome::Undecided);
  bench.tell(ShellFailed{{Code::Io, "write runs/x/journal: no space left on device"}, false});
  bench.beat(61s);
  EXPECT_EQ(bench.state.outcome, Outcome::Failed);
  EXPECT_TRUE(bench.said("no space left on device"));
}

TEST(Coordinator, AbdicatesWhenItReachesTooFew) {
  Bench bench(4);
  bench.run(2, 2);
  bench.silent = {"b"};
  bench.beat(5s);
  bench.let_end();
  for (int i = 0; i < 40 && !bench.state.deposed; ++i) {
    bench.tell(LeaseRenewed{1});
    bench.nodes.erase("b");
    bench.beat(1s);
  }
  ASSERT_NE(bench.last<StepDown>(), nullptr);
  EXPECT_TRUE(bench.last<StepDown>()->abdicated);
}

TEST(Coordinator, LeadsNobodyWithoutALease) {
  Bench bench(4);
  bench.run(2, 2);
  bench.beat(12s);
  ASSERT_NE(bench.last<StepDown>(), nullptr);
  EXPECT_FALSE(bench.last<StepDown>()->abdicated);
}

TEST(Coordinator, ARenewalCountsFromWhenItBeganHoweverLateItIsHeardOf) {
  Bench bench(4);
  bench.run(2, 2);
  bench.beat(9s);
  bench.tell(LeaseRenewed{1, 9s});
  bench.beat(2s);
  EXPECT_NE(bench.last<StepDown>(), nullptr);

  Bench other(4);
  other.run(2, 2);
  other.beat(9s);
  other.tell(LeaseRenewed{1, 500ms});
  other.tell(LeaseRenewed{1, 9s});  // an older one takes nothing back
  other.beat(9s);
  EXPECT_EQ(other.last<StepDown>(), nullptr);
}

}  // namespace
}  // namespace weft::runtime

// How a generation is formed: who is used, where ranks go, what is ordered and repeated.
#include <gtest/gtest.h>

#include "tests/runtime/coordinator_bench.h"

namespace weft::runtime {
namespace {

using namespace std::chrono_literals;
using Bench = CoordinatorBench;

TEST(Coordinator, ClaimsANumberAndLooksForCheckpointsBeforeItForms) {
  Bench bench(4);
  bench.join("a", 2);
  EXPECT_EQ(bench.count<ClaimGeneration>(), 0) << "not enough slots yet";
  bench.join("b", 2);
  EXPECT_EQ(bench.count<ClaimGeneration>(), 1);
  bench.tell(GenerationClaimed{1, false});
  EXPECT_EQ(bench.last<ClaimGeneration>()->number, 2) << "somebody else has that number";
  bench.tell(GenerationClaimed{2, true});
  EXPECT_EQ(bench.count<ListCheckpoints>(), 1);
  bench.tell(CheckpointsListed{{{20, 0, "step-20"}, {10, 0, "step-10"}}});
  EXPECT_EQ(bench.state.phase, RunPhase::Forming);
  EXPECT_TRUE(bench.durable);
  EXPECT_EQ(bench.state.resume->name, "step-20");
  EXPECT_EQ(bench.last<SendOrder>()->order.wanted, Wanted::Prepare);
  EXPECT_EQ(bench.last<TruncateAfter>()->step, 20);
}

TEST(Coordinator, ReleasesEverybodyOnceAllAreReady) {
  Bench bench(4);
  bench.join("a", 2);
  bench.join("b", 2);
  bench.let_form();
  bench.actions.clear();
  bench.all(WorkerPhase::Ready);
  EXPECT_EQ(bench.state.phase, RunPhase::Running);
  ASSERT_NE(bench.last<SendOrder>(), nullptr);
  EXPECT_EQ(bench.last<SendOrder>()->order.wanted, Wanted::Work);
}

TEST(Coordinator, AnswersAReportThatNeedsNothingNewWithABeat) {
  Bench bench(2);
  bench.run(1, 2);
  bench.actions.clear();
  bench.say("a");
  EXPECT_EQ(bench.actions.size(), 1u);
  EXPECT_EQ(bench.count<SendBeat>(), 1);
}

TEST(Coordinator, SendsAnOrderAgainUntilItIsTaken) {
  Bench bench(2);
  bench.join("a", 2);
  bench.let_form();
  bench.actions.clear();
  Report late = bench.of("a");
  late.number += 1;
  late.order = 0;
  bench.tell(late);
  EXPECT_EQ(bench.count<SendOrder>(), 0) << "it has just been sent";
  EXPECT_EQ(bench.last<SendBeat>()->beat.order, 0) << "nor is the agent told to ask for it";
  bench.clock.advance(1s);
  for (int again = 1; again <= 2; ++again) {
    late.number += 1;
    bench.tell(late);
    EXPECT_EQ(bench.count<SendOrder>(), 1) << "once a heartbeat";
  }
}

TEST(Coordinator, DropsReportsThatAreOlderOrOfAnOlderIncarnation) {
  Bench bench(2);
  bench.run(1, 2);
  Report old = bench.of("a");
  old.number = 1;
  old.workers[0].phase = WorkerPhase::Failed;
  bench.tell(old);
  EXPECT_EQ(bench.state.phase, RunPhase::Running);
}

TEST(Coordinator, DoesNotUseANodeWhoseChecksFailed) {
  Bench bench(2);
  Report& report = bench.of("a");
  report.facts = NodeFacts{};
  report.facts->slots = 2;
  report.facts->checks = {{"disk", false, "80 MB free of 1 GB wanted"}};
  bench.say("a");
  EXPECT_EQ(bench.state.phase, RunPhase::Waiting);
  EXPECT_TRUE(bench.said("disk: 80 MB free of 1 GB wanted"));
}

TEST(Coordinator, DoesNotMixVersions) {
  Bench bench(2);
  bench.join("a", 1);
  Report& report = bench.of("b");
  report.facts = NodeFacts{};
  report.facts->slots = 2;
  report.facts->version = "weft 0.2.0";
  bench.say("b");
  EXPECT_EQ(bench.state.phase, RunPhase::Waiting);
}

TEST(Coordinator, PlacesRanksByLeafWhereAllNodesSayTheirs) {
  Bench bench(4);
  bench.options.layout = scheduler::Layout{dualpipe::Kind::OneFOneB, 2, 2, 2, 4};
  std::map<std::string, std::string> leaf = {{"a", "x"}, {"b", "y"}, {"c", "x"}, {"d", "y"}};
  int roster = 0;
  for (const auto& [node, its] : leaf) {
    Report& report = bench.of(node);
    report.facts = NodeFacts{};
    report.facts->slots = 1;
    report.facts->roster = roster++;
    report.facts->leaf = its;
    bench.say(node);
  }
  // Ranks 0 and 1 exchange experts, and so do 2 and 3.
  const auto& placed = bench.state.placement;
  ASSERT_EQ(placed.size(), 4u);
  EXPECT_EQ(leaf[placed[0].node], leaf[placed[1].node]);
  EXPECT_EQ(leaf[placed[2].node], leaf[placed[3].node]);
}

TEST(Coordinator, FailsWhenTheNodesDoNotCome) {
  Bench bench(4);
  bench.join("a", 2);
  bench.beat(10min + 1s);
  EXPECT_EQ(bench.state.outcome, Outcome::Failed);
  EXPECT_TRUE(bench.said("4 slots are needed and 2 were there"));
}

}  // namespace
}  // namespace weft::runtime

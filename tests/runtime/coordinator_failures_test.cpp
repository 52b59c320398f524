// What ends a generation, what it is put down to, and when a run or a node is given up.
#include <gtest/gtest.h>

#include "tests/runtime/coordinator_bench.h"

namespace weft::runtime {
namespace {

using namespace std::chrono_literals;
using Bench = CoordinatorBench;

TEST(Coordinator, ADeathEndsTheGenerationAndTheNextOneResumesFromTheNewestCheckpoint) {
  Bench bench(4);
  bench.run(2, 2);
  bench.die(2);
  EXPECT_EQ(bench.state.phase, RunPhase::Ending);
  EXPECT_TRUE(bench.said("worker 2 on node b died: signal 9 (Killed)"));
  bench.let_end();
  EXPECT_EQ(bench.state.phase, RunPhase::Claiming);
  bench.let_form({{10, 1, "step-10"}});
  EXPECT_EQ(bench.state.generation, 2);
  EXPECT_EQ(bench.state.resume->step, 10);
}

TEST(Coordinator, ADeathExplainsWhatAPeerSaidAboutItBefore) {
  Bench bench(4);
  bench.run(2, 2);
  WorkerStatus& peer = bench.worker(0);
  peer.phase = WorkerPhase::Failed;
  peer.failure = WorkerFailure{};
  peer.failure->message = "rank 2 is gone";
  peer.failure->blames = 2;
  bench.say("a");
  EXPECT_EQ(bench.state.phase, RunPhase::Ending);
  bench.die(2);
  EXPECT_EQ(bench.state.cause.kind, Cause::Kind::WorkerDied);
  EXPECT_EQ(bench.state.cause.rank, 2);
  EXPECT_TRUE(bench.said("generation 1 ended because worker 2 on node b died"));
}

TEST(Coordinator, TheFirstOfEqualFailuresIsTheCause) {
  Bench bench(4);
  bench.run(2, 2);
  bench.die(3);
  bench.die(1);
  EXPECT_EQ(bench.state.cause.rank, 3);
}

TEST(Coordinator, AnAgentThatMissesThreeReportsIsLostAndItsRanksGoToTheSpare) {
  Bench bench(4);
  bench.run(3, 2);
  bench.silent = {"a"};
  bench.beat(4s);
  EXPECT_TRUE(bench.said("node a is lost"));
  bench.let_end();
  bench.let_form();
  EXPECT_EQ(bench.state.placement[0].node, "c");
  EXPECT_EQ(bench.state.placement[1].node, "c");
  EXPECT_EQ(bench.state.placement[2].node, "b") << "survivors stay where they are";
  EXPECT_GE(bench.count<ReadSpool>(), 1);
}

TEST(Coordinator, AnAgentThatWasStartedAgainHasNoWorkersAnyMore) {
  Bench bench(4);
  bench.run(2, 2);
  Report& again = bench.of("b");
  again.incarnation = 2;
  again.number = 0;
  again.generation = 0;
  again.workers.clear();
  bench.join("b", 2, 1);
  EXPECT_EQ(bench.state.phase, RunPhase::Ending);
  EXPECT_TRUE(bench.said("was started again"));
}

TEST(Coordinator, ThatWasStoppedItselfBlamesNobodyForTheSilence) {
  Bench bench(4);
  bench.run(2, 2);
  bench.clock.advance(60s);
  bench.tell(Tick{});
  EXPECT_EQ(bench.state.phase, RunPhase::Running);
  EXPECT_TRUE(bench.said("nobody is blamed"));
}

TEST(Coordinator, AsksWhoWaitsWhenNobodyProgressesAndEndsTheGenerationWithTheAnswer) {
  Bench bench(2);
  bench.run(1, 2);
  bench.all(WorkerPhase::Working, 1);
  bench.beat(9s);
  EXPECT_EQ(bench.count<ExplainWaits>(), 0) << "not before ten steps' time";
  bench.beat(1400ms);
  EXPECT_EQ(bench.count<ExplainWaits>(), 1);
  bench.tell(WaitsExplained{1, 1, "rank 0 waits for rank 1 at F3"});
  EXPECT_EQ(bench.state.cause.kind, Cause::Kind::Hang);
  EXPECT_EQ(bench.state.cause.node, "a");
  EXPECT_TRUE(bench.said("rank 0 waits for rank 1 at F3"));
}

TEST(Coordinator, NamesWhoIsFurthestBehindWhenNobodyExplainsAHang) {
  Bench bench(3);
  bench.run(1, 3);
  bench.all(WorkerPhase::Working, 5);
  bench.worker(1).action = 7;
  bench.worker(0).action = 9;
  bench.worker(2).action = 9;
  bench.say("a");
  bench.beat(15s);
  EXPECT_EQ(bench.state.cause.rank, 1);
}

TEST(Coordinator, GivesRanksThatDoNotStepTheLongerBound) {
  Bench bench(2);
  bench.run(1, 2);
  bench.all(WorkerPhase::Working, 1);
  bench.worker(0).activity = Activity::Saving;
  bench.say("a");
  bench.beat(60s);
  EXPECT_EQ(bench.state.phase, RunPhase::Running);
}

TEST(Coordinator, FailsAfterSoManyGenerationsWithoutProgress) {
  Bench bench(2);
  bench.run(1, 2);
  for (int i = 0; i < bench.options.fruitless_max; ++i) {
    ASSERT_EQ(bench.state.phase, RunPhase::Running) << i;
    bench.die(1);
    bench.let_end();
    if (bench.state.phase == RunPhase::Closing) break;
    bench.let_form();
    bench.all(WorkerPhase::Ready);
  }
  EXPECT_EQ(bench.state.outcome, Outcome::Failed);
  EXPECT_TRUE(bench.said("5 generations in a row"));
  EXPECT_TRUE(bench.said("worker 1 on node a died"));
}

TEST(Coordinator, ANewStepOrCheckpointStartsTheCountOfFruitlessGenerationsAnew) {
  Bench bench(2);
  bench.run(1, 2);
  for (int i = 1; i <= 12; ++i) {
    bench.all(WorkerPhase::Working, i);
    bench.die(1);
    bench.let_end();
    ASSERT_EQ(bench.state.phase, RunPhase::Claiming) << i;
    bench.let_form();
    bench.all(WorkerPhase::Ready);
  }
}

TEST(Coordinator, NeverRetriesWhatTheJobFileCauses) {
  for (const Code code : {Code::InvalidArgument, Code::Unsupported, Code::NotFound}) {
    Bench bench(2);
    bench.run(1, 2);
    WorkerStatus& status = bench.worker(0);
    status.phase = WorkerPhase::Failed;
    status.failure = WorkerFailure{};
    status.failure->code = code;
    status.failure->message = "data.path: no such file";
    bench.say("a");
    bench.let_end();
    EXPECT_EQ(bench.state.outcome, Outcome::Failed) << to_string(code);
    EXPECT_TRUE(bench.said("data.path: no such file"));
  }
}

TEST(Coordinator, BansANodeThatEndsGenerationAfterGenerationWhereThereIsASpare) {
  Bench bench(2);
  bench.run(2, 2);
  for (int i = 1; i <= 3; ++i) {
    bench.all(WorkerPhase::Working, i);
    bench.die(0);
    bench.let_end();
    bench.let_form();
    bench.all(WorkerPhase::Ready);
  }
  ASSERT_TRUE(bench.state.bans.contains("a"));
  EXPECT_NE(bench.state.bans["a"].reason.find("ended 3 generations"), std::string::npos);
  EXPECT_EQ(bench.state.placement[0].node, "b");
  bench.beat(1s);
  bench.clock.advance(61min);
  bench.tell(Tick{});
  EXPECT_FALSE(bench.state.bans.contains("a")) << "bans end";
}

TEST(Coordinator, DoesNotBanTheOnlyNode) {
  Bench bench(2);
  bench.run(1, 2);
  for (int i = 1; i <= 4; ++i) {
    bench.all(WorkerPhase::Working, i);
    bench.die(0);
    bench.let_end();
    bench.let_form();
    bench.all(WorkerPhase::Ready);
  }
  EXPECT_TRUE(bench.state.bans.empty());
  EXPECT_EQ(bench.state.phase, RunPhase::Running);
}

}  // namespace
}  // namespace weft::runtime

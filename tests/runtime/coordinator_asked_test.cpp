// What people ask of a run (stop, pause, save), what is asked because of a slow or wrong rank.
#include <gtest/gtest.h>

#include "tests/runtime/coordinator_bench.h"

namespace weft::runtime {
namespace {

using namespace std::chrono_literals;
using Bench = CoordinatorBench;

TEST(Coordinator, AStopEndsAfterTheStepASecondOneAtOnce) {
  Bench bench(2);
  bench.run(1, 2);
  bench.tell(StopAsked{});
  EXPECT_TRUE(bench.last<SendOrder>()->order.stop);
  EXPECT_EQ(bench.state.phase, RunPhase::Running);
  bench.tell(StopAsked{});
  EXPECT_EQ(bench.state.phase, RunPhase::Ending);
  EXPECT_TRUE(bench.last<SendOrder>()->order.hard);
  bench.let_end();
  EXPECT_EQ(bench.state.outcome, Outcome::Stopped);
}

TEST(Coordinator, PausesAfterSavingAndContinuesAsTheNextGeneration) {
  Bench bench(2);
  bench.run(1, 2);
  bench.tell(PauseAsked{});
  EXPECT_TRUE(bench.last<SendOrder>()->order.stop);
  bench.all(WorkerPhase::Done, 7, true);
  bench.let_end();
  EXPECT_EQ(bench.state.phase, RunPhase::Paused);
  bench.beat(3s);
  EXPECT_EQ(bench.state.phase, RunPhase::Paused);
  bench.tell(ContinueAsked{});
  bench.let_form({{7, 1, "step-7"}});
  EXPECT_EQ(bench.state.generation, 2);
  EXPECT_EQ(bench.state.resume->step, 7);
}

TEST(Coordinator, RepeatsARequestToSaveUntilACheckpointAnswersIt) {
  Bench bench(2);
  bench.run(1, 2);
  bench.tell(SaveAsked{30});
  EXPECT_EQ(bench.last<SendOrder>()->order.save, (SaveRequest{1, 30}));
  bench.of("a").saved = Checkpoint{31, 1, "step-31"};
  bench.of("a").saved_request = 1;
  bench.say("a");
  EXPECT_EQ(bench.state.saves_done, 1);
  EXPECT_TRUE(bench.said("saved checkpoint step-31"));
  EXPECT_EQ(bench.last<SendOrder>()->order.save.id, 0);
}

TEST(Coordinator, ASignalToAllAgentsIsOneRequestToSave) {
  Bench bench(4);
  bench.run(2, 2);
  bench.of("a").saves_asked = 1;
  bench.of("b").saves_asked = 1;
  bench.say("a");
  bench.say("b");
  bench.say("a");
  EXPECT_EQ(bench.state.save.id, 1);
  bench.of("a").saved = Checkpoint{5, 1, "step-5"};
  bench.of("a").saved_request = 1;
  bench.say("a");
  bench.say("b");
  EXPECT_EQ(bench.state.save.id, 1) << "answered, and nobody has asked since";
  bench.of("b").saves_asked = 2;
  bench.say("b");
  EXPECT_EQ(bench.state.save.id, 2);
}

TEST(Coordinator, ALastingStragglerIsSwappedAfterSavingAlsoWhenTheSpareComesLater) {
  Bench bench(2);
  bench.options.swap_stragglers = true;
  bench.run(1, 2);
  bench.tell(StragglerFlagged{1, 1, "half as fast as its peers"});
  EXPECT_TRUE(bench.said("there is no spare to swap it for"));
  EXPECT_EQ(bench.state.save.id, 0);
  bench.join("b", 2, 1);
  EXPECT_TRUE(bench.said("node a is banned: rank 1 on node a: half as fast"));
  ASSERT_EQ(bench.state.save.id, 1);
  EXPECT_EQ(bench.state.phase, RunPhase::Running) << "until it is saved";
  bench.of("a").saved = Checkpoint{9, 1, "step-9"};
  bench.of("a").saved_request = 1;
  bench.say("a");
  EXPECT_EQ(bench.state.phase, RunPhase::Ending);
  bench.let_end();
  bench.let_form({{9, 1, "step-9"}});
  EXPECT_EQ(bench.state.generation, 2);
  EXPECT_EQ(bench.state.resume->step, 9);
  for (const RankPlacement& place : bench.state.placement) EXPECT_EQ(place.node, "b");
}

TEST(Coordinator, ARankProvenWrongLosesItsNodeForGoodAlsoWhenItEndedTheGeneration) {
  Bench bench(2);
  bench.run(1, 2);
  bench.join("b", 2, 1);
  bench.tell(StragglerFlagged{1, 0, "silent corruption in step 7", true});
  ASSERT_TRUE(bench.state.bans.contains("a"));
  EXPECT_FALSE(bench.state.bans.at("a").until) << "until a person lifts it";
  bench.die(1);  // with watch.on_corruption: stop the workers fail at once
  bench.let_end();
  bench.let_form();
  EXPECT_EQ(bench.state.placement[0].node, "b");
  bench.all(WorkerPhase::Ready);
  bench.all(WorkerPhase::Working, 3);
  bench.of("b").saved = Checkpoint{3, 2, "step-3"};
  bench.of("b").saved_request = bench.state.save.id;
  bench.say("b");
  EXPECT_EQ(bench.state.phase, RunPhase::Running) << "the swap is done, nobody waits for it";
}

}  // namespace
}  // namespace weft::runtime

// Which checkpoint a generation resumes from: of the disk or a memory, on the line, undamaged.
#include <gtest/gtest.h>

#include "tests/runtime/coordinator_bench.h"

namespace weft::runtime {
namespace {

using namespace std::chrono_literals;
using Bench = CoordinatorBench;

/// A generation of two ranks on node a, whose memory holds the state of step 45, ends.
void lose_a_worker_after_a_copy(Bench& bench, const std::vector<Checkpoint>& on_disk) {
  bench.of("a").copies = {{{45, 1, in_memory("step-45")}}};
  bench.say("a");
  bench.die(0);
  bench.let_end();
  bench.let_form(on_disk);
}

TEST(CoordinatorCheckpoints, TheNewerCopyInMemoryIsResumedFrom) {
  Bench bench(2);
  bench.run(1, 2);
  lose_a_worker_after_a_copy(bench, {{40, 1, "step-40"}});
  ASSERT_TRUE(bench.state.resume);
  EXPECT_EQ(bench.state.resume->name, "memory/step-45");
  EXPECT_EQ(bench.last<TruncateAfter>()->step, 45);
  EXPECT_TRUE(bench.said("from the copy in memory of step 45")) << bench.reasons;
}

TEST(CoordinatorCheckpoints, OfTheSameStepTheOneInMemoryIsTaken) {
  Bench bench(2);
  bench.run(1, 2);
  lose_a_worker_after_a_copy(bench, {{45, 1, "step-45"}});
  EXPECT_EQ(bench.state.resume->name, "memory/step-45");
}

TEST(CoordinatorCheckpoints, ANewerCheckpointOnTheDiskIsTaken) {
  Bench bench(2);
  bench.run(1, 2);
  lose_a_worker_after_a_copy(bench, {{50, 1, "step-50"}});
  EXPECT_EQ(bench.state.resume->name, "step-50");
}

TEST(CoordinatorCheckpoints, ADamagedOneIsNotTakenAgain) {
  Bench bench(2);
  bench.run(1, 2);
  const std::vector<Checkpoint> on_disk = {{40, 1, "step-40"}};
  lose_a_worker_after_a_copy(bench, on_disk);
  bench.all(WorkerPhase::Ready);
  WorkerStatus& worker = bench.worker(1);
  worker.phase = WorkerPhase::Failed;
  worker.gone = true;
  worker.failure = WorkerFailure{};
  worker.failure->code = Code::Corrupt;
  worker.failure->damaged_checkpoint = "memory/step-45";
  bench.say("a");
  bench.let_end();
  bench.let_form(on_disk);
  ASSERT_TRUE(bench.state.resume);
  EXPECT_EQ(bench.state.resume->name, "step-40");
}

TEST(CoordinatorCheckpoints, WhereTheRanksGoToAnotherNodeItIsOfNoUse) {
  Bench bench(2);
  bench.run(2, 2);
  ASSERT_EQ(bench.state.placement[0].node, bench.state.placement[1].node);
  const std::string other = bench.state.placement[0].node == "a" ? "b" : "a";
  bench.of(other).copies = {{{45, 1, in_memory("step-45")}}};
  bench.say(other);
  bench.die(0);
  bench.let_end();
  bench.let_form({{40, 1, "step-40"}});
  EXPECT_EQ(bench.state.resume->name, "step-40");
}

TEST(Coordinator, ADamagedCheckpointIsLeftOutUntilItIsWrittenAnew) {
  Bench bench(2);
  bench.join("a", 2);
  bench.let_form({{20, 0, "step-20"}, {10, 0, "step-10"}});
  bench.all(WorkerPhase::Ready);
  bench.all(WorkerPhase::Working);
  WorkerStatus& worker = bench.worker(1);
  worker.phase = WorkerPhase::Failed;
  worker.failure = WorkerFailure{};
  worker.failure->message = "a hash differs";
  worker.failure->damaged_checkpoint = "step-20";
  bench.say("a");
  bench.let_end();
  bench.actions.clear();
  bench.let_form({{20, 0, "step-20"}, {10, 0, "step-10"}});
  EXPECT_EQ(bench.state.resume->step, 10);
  EXPECT_EQ(bench.last<SendOrder>()->order.resume->name, "step-10");
  EXPECT_EQ(bench.count<TruncateAfter>(), 0) << "nothing is dropped for a resume that may fail";
  bench.all(WorkerPhase::Ready);
  bench.all(WorkerPhase::Working, 21);
  bench.die(0);
  bench.let_end();
  bench.let_form({{20, 2, "step-20"}, {10, 0, "step-10"}});
  EXPECT_EQ(bench.state.resume->step, 20) << "generation 2 wrote it anew, under the same name";
}

TEST(Coordinator, WithAllCheckpointsDamagedTheRunEndsInsteadOfBeginningAgain) {
  Bench bench(2);
  bench.join("a", 2);
  bench.let_form({{10, 0, "step-10"}});
  bench.all(WorkerPhase::Ready);
  bench.all(WorkerPhase::Working);
  WorkerStatus& worker = bench.worker(0);
  worker.phase = WorkerPhase::Failed;
  worker.failure = WorkerFailure{};
  worker.failure->message = "a hash differs";
  worker.failure->damaged_checkpoint = "step-10";
  bench.say("a");
  bench.let_end();
  bench.let_form({{10, 0, "step-10"}});
  EXPECT_EQ(bench.state.outcome, Outcome::Failed);
  EXPECT_EQ(bench.state.cause.code, Code::Corrupt);
  EXPECT_NE(bench.state.reason.find("step-10"), std::string::npos) << bench.state.reason;
}

TEST(Line, CountsAStepForTheLastGenerationThatDidIt) {
  const std::vector<LineEntry> line = {{1, 0}, {2, 20}, {4, 10}};
  EXPECT_TRUE(counts(line, 1, 10));
  EXPECT_FALSE(counts(line, 1, 11)) << "generation 4 does it anew";
  EXPECT_FALSE(counts(line, 2, 21));
  EXPECT_TRUE(counts(line, 4, 11));
  EXPECT_FALSE(counts(line, 3, 5)) << "it is of nobody's line";
  EXPECT_FALSE(counts(line, 5, 30));
}

TEST(Line, NewestCheckpointIsOfTheLineAndNotDamaged) {
  const std::vector<LineEntry> line = {{1, 0}, {2, 20}};
  const std::vector<Checkpoint> complete = {
      {20, 1, "a"}, {40, 1, "zombie's"}, {30, 2, "b"}, {35, 2, "torn"}};
  EXPECT_EQ(newest_on_line(line, complete, {damage_key(complete[3])})->name, "b");
  EXPECT_EQ(newest_on_line({}, complete, {})->name, "zombie's") << "the first generation of all";
}

}  // namespace
}  // namespace weft::runtime

// Records: each counts once; the run ends when they are there; nonsense breaks nothing.
#include <gtest/gtest.h>

#include "base/rng.h"
#include "tests/runtime/coordinator_bench.h"

namespace weft::runtime {
namespace {

using namespace std::chrono_literals;
using Bench = CoordinatorBench;

TEST(Coordinator, CountsEveryRecordOnceAndNothingThatWasDoneAnew) {
  Bench bench(2);
  bench.run(1, 2);
  bench.tell(Records{"a", 1, 1, 0, {{0, 1}, {1, 2}, {2, 3}}});
  EXPECT_EQ(bench.last<StoreRecords>()->sequences, (std::vector<std::int64_t>{0, 1, 2}));
  bench.tell(RecordsStored{"a", 1, 0, 3});
  EXPECT_EQ(bench.last<SendAcknowledgement>()->acknowledgement.next, 3);
  bench.actions.clear();
  bench.tell(Records{"a", 1, 1, 0, {{0, 1}, {1, 2}, {2, 3}}});
  EXPECT_EQ(bench.count<StoreRecords>(), 0) << "it has them";
  bench.die(0);
  bench.let_end();
  bench.let_form({{4, 1, "step-4"}});
  bench.tell(Records{"a", 1, 1, 0, {{3, 4}, {4, 5}, {5, -1}}});
  EXPECT_EQ(bench.last<StoreRecords>()->sequences, (std::vector<std::int64_t>{3, 5}))
      << "step 5 is done anew from the checkpoint of step 4";
  EXPECT_EQ(bench.last<StoreRecords>()->next, 6);
}

TEST(Coordinator, ReadsTheSpoolWhenRecordsAreMissing) {
  Bench bench(2);
  bench.run(1, 2);
  bench.tell(Records{"a", 1, 1, 0, {{4, 5}}});
  EXPECT_EQ(bench.count<StoreRecords>(), 0);
  EXPECT_EQ(bench.count<ReadSpool>(), 1);
}

TEST(Coordinator, FinishesWhenAllAreDoneAndTheirRecordsAreThere) {
  Bench bench(2);
  bench.run(1, 2);
  bench.of("a").unacknowledged = 3;
  bench.all(WorkerPhase::Done, 40);
  EXPECT_EQ(bench.state.phase, RunPhase::Closing);
  EXPECT_EQ(bench.state.outcome, Outcome::Finished);
  EXPECT_EQ(bench.last<SendOrder>()->order.wanted, Wanted::Leave);
  bench.let_end();
  bench.beat(2s);
  EXPECT_EQ(bench.count<RecordEnd>(), 0) << "records are missing";
  bench.of("a").unacknowledged = 0;
  bench.beat(1s);
  ASSERT_GE(bench.count<RecordEnd>(), 1);
  bench.tell(EndRecorded{});
  EXPECT_EQ(bench.state.phase, RunPhase::Ended);
}

TEST(Coordinator, SurvivesAnyOrderOfNonsense) {
  Rng rng(7, "nonsense");
  for (int round = 0; round < 40; ++round) {
    Bench bench(3);
    if (round % 2 == 0) bench.run(2, 2);
    for (int i = 0; i < 200 && !bench.state.deposed; ++i) {
      bench.clock.advance(std::chrono::milliseconds(rng.below(900)));
      Report report = bench.of(std::string(1, static_cast<char>('a' + rng.below(3))));
      report.number = static_cast<std::int64_t>(rng.below(400));
      report.incarnation = 1 + rng.below(3);
      report.generation = static_cast<std::int64_t>(rng.below(4));
      report.order = static_cast<std::int64_t>(rng.below(5));
      if (rng.below(3) == 0) {
        report.facts = NodeFacts{};
        report.facts->slots = static_cast<int>(rng.below(4));
      }
      report.workers.clear();
      for (int w = 0; w < 3; ++w) {
        WorkerStatus status;
        status.rank = static_cast<int>(rng.below(6)) - 1;
        status.phase = static_cast<WorkerPhase>(rng.below(5));
        status.gone = rng.below(2) == 0;
        status.step = rng.below(9);
        report.workers.push_back(status);
      }
      switch (rng.below(7)) {
        case 0:
          bench.tell(Tick{});
          break;
        case 1:
          bench.tell(GenerationClaimed{bench.state.generation, rng.below(4) != 0});
          break;
        case 2:
          bench.tell(CheckpointsListed{{{static_cast<std::int64_t>(rng.below(9)), 1, "x"}}});
          break;
        case 3:
          bench.tell(Records{"a", 1, static_cast<std::int64_t>(rng.below(3)), 5, {{3, 4}}});
          break;
        default:
          bench.tell(report);
      }
      for (const int value : {bench.state.num_ready, bench.state.num_gone, bench.state.num_done,
                              bench.state.num_not_stepping}) {
        ASSERT_GE(value, 0);
        ASSERT_LE(value, 3);
      }
    }
  }
}

}  // namespace
}  // namespace weft::runtime

#include "runtime/coordinator/one_host.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace weft::runtime::one_host {
namespace {

using Phase = CoordinatorState::Phase;
using namespace std::chrono_literals;

/// A coordinator on simulated time that remembers everything it was told to do.
struct Bench {
  explicit Bench(int world) : state(start_state(world, clock.now(), options)) {}

  void tell(const Event& event) {
    Decision decision = decide(std::move(state), event, clock.now(), options);
    state = std::move(decision.state);
    for (auto& action : decision.actions) actions.push_back(std::move(action));
    if (!decision.reason.empty()) reasons.push_back(decision.reason);
  }
  void form() {
    for (int rank = 0; rank < static_cast<int>(state.workers.size()); ++rank)
      tell(WorkerHello{rank});
    actions.clear();
    reasons.clear();
  }
  template <class Action>
  int count() const {
    int n = 0;
    for (const auto& action : actions) n += std::holds_alternative<Action>(action);
    return n;
  }

  SimClock clock;
  CoordinatorOptions options;
  CoordinatorState state;
  std::vector<CoordinatorAction> actions;
  std::vector<std::string> reasons;
};

TEST(OneHost, AssignsOnceEverybodyIsThere) {
  Bench bench(3);
  bench.tell(WorkerHello{2});
  bench.tell(WorkerHello{0});
  bench.tell(WorkerHello{0});
  EXPECT_EQ(bench.count<SendAssignment>(), 0);
  bench.tell(WorkerHello{1});
  EXPECT_EQ(bench.count<SendAssignment>(), 3);
  EXPECT_EQ(bench.state.phase, Phase::Running);
}

TEST(OneHost, FinishesWhenAllAreDoneAndGone) {
  Bench bench(2);
  bench.form();
  bench.tell(WorkerDone{0});
  bench.tell(WorkerDone{1});
  EXPECT_EQ(bench.state.outcome, Outcome::Finished);
  EXPECT_EQ(bench.count<SendShutdown>(), 2);
  bench.tell(WorkerExited{0});
  EXPECT_NE(bench.state.phase, Phase::Ended);
  bench.tell(WorkerExited{1});
  EXPECT_EQ(bench.state.phase, Phase::Ended);
}

TEST(OneHost, ADeathEndsAllWaitsAndNamesTheRankAndTheSignal) {
  Bench bench(4);
  bench.form();
  bench.tell(WorkerExited{2, 0, 9});
  EXPECT_EQ(bench.state.outcome, Outcome::Failed);
  EXPECT_EQ(bench.state.culprit, 2);
  EXPECT_NE(bench.state.reason.find("worker 2 died: signal 9"), std::string::npos);
  EXPECT_EQ(bench.count<AbortWaits>(), 1);
  EXPECT_EQ(bench.count<KillWorker>(), 3);
}

TEST(OneHost, TheFirstFailureIsTheCauseAndLaterOnesAreConsequences) {
  Bench bench(2);
  bench.form();
  bench.tell(WorkerFailed{1, {Code::Io, "disk full"}});
  bench.tell(WorkerFailed{0, {Code::Unavailable, "peer gone"}});
  bench.tell(WorkerExited{0, 70, 0});
  bench.tell(WorkerExited{1, 70, 0});
  EXPECT_EQ(bench.state.culprit, 1);
  EXPECT_EQ(bench.state.cause, Code::Io);
  EXPECT_EQ(bench.reasons.size(), 1u);
  EXPECT_EQ(bench.state.phase, Phase::Ended);
}

TEST(OneHost, WhoDoesNotReportInTimeIsNamed) {
  Bench bench(2);
  bench.tell(WorkerHello{0});
  bench.clock.advance(bench.options.forming_bound);
  bench.tell(Tick{});
  EXPECT_EQ(bench.state.culprit, 1);
  EXPECT_EQ(bench.state.cause, Code::DeadlineExceeded);
}

TEST(OneHost, WhoDoesNotLeaveIsKilled) {
  Bench bench(2);
  bench.form();
  bench.tell(WorkerExited{0, 1, 0});
  bench.actions.clear();
  bench.clock.advance(bench.options.ending_bound);
  bench.tell(Tick{});
  ASSERT_EQ(bench.count<KillWorker>(), 1);
  EXPECT_TRUE(std::get<KillWorker>(bench.actions[0]).hard);
}

TEST(OneHost, StopsGentlyFirstAndAtOnceWhenAskedAgain) {
  Bench bench(2);
  bench.form();
  bench.tell(StopAsked{});
  EXPECT_EQ(bench.count<SendStop>(), 2);
  EXPECT_EQ(bench.count<KillWorker>(), 0);
  bench.tell(StopAsked{});
  EXPECT_EQ(bench.count<KillWorker>(), 2);
  EXPECT_EQ(bench.state.outcome, Outcome::Stopped);
}

TEST(OneHost, AStopAskedWhileFormingIsNotForgotten) {
  Bench bench(2);
  bench.tell(StopAsked{});
  bench.tell(WorkerHello{0});
  bench.tell(WorkerHello{1});
  EXPECT_EQ(bench.count<SendStop>(), 2);
}

// Whatever happens in whatever order, the run ends, with one outcome that never changes and a
// reason.
TEST(OneHost, EveryHistoryEndsOnceWithAReason) {
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed, "history");
    const int world = 1 + static_cast<int>(rng.below(4));
    Bench bench(world);
    Outcome decided = Outcome::Undecided;
    const auto tell = [&](const Event& event) {
      bench.tell(event);
      if (decided != Outcome::Undecided) {
        ASSERT_EQ(bench.state.outcome, decided);
      }
      decided = bench.state.outcome;
    };
    for (int i = 0; i < 40; ++i) {
      const int rank = static_cast<int>(rng.below(world));
      bench.clock.advance(std::chrono::milliseconds(rng.below(3000)));
      switch (rng.below(12)) {
        case 0:
          tell(WorkerDone{rank, rng.below(2) == 0});
          break;
        case 1:
          tell(WorkerFailed{rank, {Code::Io, "x"}});
          break;
        case 2:
          tell(WorkerExited{rank, 1, 0});
          break;
        case 3:
          tell(StopAsked{});
          break;
        case 4:
        case 5:
          tell(Tick{});
          break;
        default:
          tell(WorkerHello{rank});
          break;
      }
    }
    // Then time passes and the operating system does what it is told.
    for (int i = 0; i < 100 && bench.state.phase != Phase::Ended; ++i) {
      for (const auto& action : std::exchange(bench.actions, {}))
        if (const auto* kill = std::get_if<KillWorker>(&action))
          tell(WorkerExited{kill->rank, 0, 15});
      if (bench.state.phase == Phase::Running) {
        const int rank = i % world;
        tell(WorkerDone{rank});
        tell(WorkerExited{rank, 0, 0});
      }
      bench.clock.advance(2s);
      tell(Tick{});
      for (int rank = 0; rank < world; ++rank)
        if (bench.state.workers[rank] == CoordinatorState::Worker::Done)
          tell(WorkerExited{rank, 0, 0});
    }
    EXPECT_EQ(bench.state.phase, Phase::Ended);
    EXPECT_NE(bench.state.outcome, Outcome::Undecided);
    EXPECT_FALSE(bench.state.reason.empty());
  }
}

}  // namespace
}  // namespace weft::runtime::one_host

// One node's agent: its workers, their records, whom it follows and when it leaves.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/runtime/coordinator_bench.h"

namespace weft::runtime {
namespace {

using namespace std::chrono_literals;

using Bench = AgentBench;

TEST(Agent, TellsOfASignalForACheckpointAtOnceAndHandsTheRequestToItsWorkersAtOnce) {
  Bench bench;
  bench.work();
  bench.tell(AgentSaveAsked{});
  EXPECT_EQ(bench.last<SendReport>()->report.saves_asked, 1);
  Order asked = bench.order(Wanted::Work);
  asked.save = {1, 0};
  bench.tell(asked);
  EXPECT_EQ(bench.count<TellSave>(), 2);
  asked.number = ++bench.number;
  bench.tell(asked);
  EXPECT_EQ(bench.count<TellSave>(), 2);
  bench.tell(WorkerSaved{1, 4, {7, 1, "step-7"}, 1});
  EXPECT_EQ(bench.last<SendReport>()->report.saved_request, 1);
}

TEST(Agent, ReportsTheNewestTwoCopiesAndNoneThatWasWrittenAnew) {
  Bench bench;
  bench.work();
  const auto copied = [&](std::int64_t step, int replica) {
    bench.tell(
        WorkerCopied{1, 4, {{step, 1, in_memory("step-" + std::to_string(step))}, 2, 0, replica}});
  };
  for (const std::int64_t step : {5, 10, 15}) copied(step, 1);
  ASSERT_EQ(bench.state.copies.size(), 2u);
  EXPECT_EQ(bench.state.copies[0].checkpoint.step, 10);
  copied(10, -1);
  ASSERT_EQ(bench.state.copies.size(), 1u) << "what came after step 10 does not count any more";
  EXPECT_EQ(bench.state.copies[0].replica, -1);
}

TEST(Agent, IntroducesItselfUntilItsLeaderAnswers) {
  Bench bench;
  bench.clock.advance(1s);
  bench.tell(AgentTick{});
  ASSERT_NE(bench.last<SendReport>(), nullptr);
  EXPECT_TRUE(bench.last<SendReport>()->report.facts);
  bench.tell(bench.order(Wanted::Idle));
  EXPECT_FALSE(bench.last<SendReport>()->report.facts);
}

TEST(Agent, SaysAtOnceWhatItIsWhenTheWayToItsLeaderOpens) {
  Bench bench;
  bench.clock.advance(1s);
  bench.tell(AgentTick{});  // nobody listens yet: this one is lost
  bench.actions.clear();
  bench.tell(AgentTick{});
  EXPECT_EQ(bench.count<SendReport>(), 0);  // the next would be due in a second
  bench.tell(LeaderConnected{});
  ASSERT_EQ(bench.count<SendReport>(), 1);
  EXPECT_TRUE(bench.last<SendReport>()->report.facts);
}

TEST(Agent, ReportsAtItsOwnPlaceInTheHeartbeatWhateverItReportsInBetween) {
  constexpr int kNodes = 256;
  const Instant now = Instant{} + 3h + 1234567ns;
  std::vector<Instant> beats;
  for (int roster = 0; roster < kNodes; ++roster) {
    beats.push_back(next_beat(now, 1s, roster));
    EXPECT_GT(beats.back(), now);
    EXPECT_LE(beats.back(), now + 1s);
    EXPECT_EQ(next_beat(beats.back(), 1s, roster), beats.back() + 1s);
    EXPECT_EQ(next_beat(beats.back() - 1ns, 1s, roster), beats.back());
  }
  std::ranges::sort(beats);
  for (int i = 1; i < kNodes; ++i) EXPECT_GT(beats[i] - beats[i - 1], 1ms);
  Bench bench;
  bench.work();
  const Instant next = bench.state.next_report;
  bench.clock.advance(1ms);
  bench.tell(AgentSaveAsked{});
  EXPECT_EQ(bench.last<SendReport>()->report.saves_asked, 1);
  EXPECT_EQ(bench.state.next_report, next);
}

TEST(Agent, StartsAssignsAndReportsItsWorkers) {
  Bench bench;
  bench.work();
  EXPECT_EQ(bench.count<MakeWorld>(), 1);
  EXPECT_EQ(bench.count<SpawnWorker>(), 2);
  EXPECT_EQ(bench.count<AssignWorker>(), 2);
  EXPECT_EQ(bench.last<SendReport>()->report.workers[1].phase, WorkerPhase::Working);
  EXPECT_EQ(bench.last<SendReport>()->report.order, 2);
}

TEST(Agent, AStopOrASaveIsSaidAgainEveryHeartbeatForOneMayBeLost) {
  Bench bench;
  bench.work();
  Order asked = bench.order(Wanted::Work);
  asked.stop = true;
  asked.save = {3, 40};
  bench.tell(asked);
  const auto beats = [&](int count) {
    bench.actions.clear();
    for (int i = 0; i < 10 * count; ++i) {
      bench.clock.advance(100ms);
      bench.tell(AgentTick{});
    }
  };
  beats(3);
  EXPECT_EQ(bench.count<TellStop>(), 2 * 3);
  EXPECT_EQ(bench.count<TellSave>(), 2 * 3);
  EXPECT_EQ(bench.last<TellSave>()->save, (SaveRequest{3, 40}));
  bench.tell(WorkerDone{1, 4, true});
  beats(1);
  EXPECT_EQ(bench.count<TellStop>(), 1) << "who is done needs no telling";
  bench.tell(bench.order(Wanted::Work));  // answered
  beats(2);
  EXPECT_EQ(bench.count<TellStop>() + bench.count<TellSave>(), 0);
}

TEST(Agent, AWorkerThatGreetsAgainIsGivenItsJobAgain) {
  Bench bench;
  bench.tell(bench.order(Wanted::Prepare));
  bench.tell(WorkerHello{1, 4, "x:4"});
  bench.tell(WorkerHello{1, 4, "x:4"});
  EXPECT_EQ(bench.count<AssignWorker>(), 0) << "not before all are there";
  bench.tell(WorkerHello{1, 5, "x:5"});
  bench.tell(bench.order(Wanted::Work));
  EXPECT_EQ(bench.count<AssignWorker>(), 2);
  bench.tell(WorkerHello{1, 5, "x:5"});
  EXPECT_EQ(bench.count<AssignWorker>(), 3);
  EXPECT_EQ(bench.last<AssignWorker>()->rank, 5);
  bench.tell(bench.order(Wanted::Idle));
  bench.tell(WorkerHello{1, 5, "x:5"});
  EXPECT_EQ(bench.count<AssignWorker>(), 3) << "nor while it is being ended";
}

TEST(Agent, DoesNothingTwiceForAnOrderThatComesTwice) {
  Bench bench;
  bench.work();
  bench.actions.clear();
  bench.tell(bench.state.order);
  EXPECT_EQ(bench.count<SpawnWorker>() + bench.count<AssignWorker>(), 0);
}

TEST(Agent, ObeysOnlyTheHighestTermItHasSeen) {
  Bench bench;
  bench.work();
  Order later = bench.order(Wanted::Work);
  later.term = 3;
  later.number = 1;
  bench.tell(later);
  bench.actions.clear();
  Order old = bench.order(Wanted::Idle);
  old.number = 1000;
  bench.tell(old);
  EXPECT_EQ(bench.count<KillWorker>(), 0);
}

TEST(Agent, AsksTwiceAndThenKills) {
  Bench bench;
  bench.work();
  bench.actions.clear();
  bench.tell(bench.order(Wanted::Idle));
  EXPECT_EQ(bench.count<AbortWaits>(), 1);
  ASSERT_EQ(bench.count<KillWorker>(), 2);
  EXPECT_FALSE(bench.last<KillWorker>()->hard);
  bench.tell(WorkerExited{1, 4, 0, 15, ""});
  bench.clock.advance(1100ms);
  bench.tell(AgentTick{});
  EXPECT_EQ(bench.count<KillWorker>(), 3);
  EXPECT_TRUE(bench.last<KillWorker>()->hard);
  EXPECT_EQ(bench.last<KillWorker>()->rank, 5);
}

TEST(Agent, SaysWhichDeathsItOrdered) {
  Bench bench;
  bench.work();
  bench.tell(WorkerExited{1, 4, 0, 9, ""});
  bench.tell(bench.order(Wanted::Idle));
  bench.tell(WorkerExited{1, 5, 0, 15, ""});
  const Report& report = bench.last<SendReport>()->report;
  EXPECT_FALSE(report.workers[0].failure->ordered);
  EXPECT_TRUE(report.workers[1].failure->ordered);
}

TEST(Agent, StartsTheNextGenerationWhenTheWorkersOfTheLastAreGone) {
  Bench bench;
  bench.work();
  bench.actions.clear();
  bench.tell(bench.order(Wanted::Prepare, 2));
  EXPECT_EQ(bench.count<SpawnWorker>(), 0);
  bench.tell(WorkerExited{1, 4, 0, 15, ""});
  bench.tell(WorkerExited{1, 5, 0, 15, ""});
  EXPECT_EQ(bench.count<SpawnWorker>(), 2);
  EXPECT_EQ(bench.last<MakeWorld>()->generation, 2);
  bench.tell(WorkerHello{1, 4, ""});
  EXPECT_EQ(bench.state.workers[4].status.phase, WorkerPhase::Starting) << "of the old one";
}

TEST(Agent, AnswersAFlushWhenTheSpoolHasEverythingAndAsksNobodyElse) {
  Bench bench;
  bench.work();
  bench.tell(RecordMade{1, 4, {0, 1}});
  bench.tell(FlushAsked{1, 4, 77});
  EXPECT_EQ(bench.count<AppendSpool>(), 1);
  EXPECT_EQ(bench.count<AnswerFlush>(), 0);
  bench.tell(SpoolWritten{1, 4, 1});
  ASSERT_EQ(bench.count<AnswerFlush>(), 1);
  EXPECT_EQ(bench.last<AnswerFlush>()->id, 77);
  EXPECT_EQ(bench.last<SendRecords>()->records.keys.size(), 1u);
}

TEST(Agent, KeepsRecordsUntilTheyAreAcknowledgedAndSendsThemToTheNextLeader) {
  Bench bench;
  bench.work();
  for (std::int64_t i = 0; i < 3; ++i) {
    bench.tell(RecordMade{1, 4, {i, i + 1}});
    bench.tell(SpoolWritten{1, 4, i + 1});
  }
  bench.tell(Acknowledgement{1, 1, 4, 1});
  EXPECT_EQ(bench.last<SendReport>()->report.unacknowledged, 0) << "reported before they were made";
  bench.actions.clear();
  Claims claims;
  claims.highest = Claim{2, "c", 1, "tcp://c:1", 0, false};
  bench.tell(ClaimsRead{claims});
  Order order = bench.order(Wanted::Work);
  order.term = 2;
  order.number = 1;
  bench.tell(order);
  ASSERT_NE(bench.last<SendRecords>(), nullptr);
  EXPECT_EQ(bench.last<SendRecords>()->records.keys.front().sequence, 1);
  EXPECT_EQ(bench.last<SendRecords>()->records.keys.size(), 2u);
}

TEST(Agent, KeepsItsWorkersWhenTheLeaderIsGone) {
  Bench bench;
  bench.work();
  bench.actions.clear();
  for (int i = 0; i < 300; ++i) {
    bench.clock.advance(100ms);
    bench.tell(AgentTick{});
  }
  EXPECT_EQ(bench.count<KillWorker>(), 0);
  EXPECT_GT(bench.count<ReadClaims>(), 10) << "but looks for another one";
}

TEST(Agent, EndsWorkersWhoseGenerationWasReplacedWithoutIt) {
  Bench bench;
  bench.work();
  bench.actions.clear();
  Claims claims;
  claims.highest = Claim{1, "a", 1, "tcp://a:1", 9, false};
  claims.generation = 2;
  bench.tell(ClaimsRead{claims});
  EXPECT_EQ(bench.count<KillWorker>(), 2);
}

TEST(Agent, StartsItsCoordinatorAgainUnderTheNextTerm) {
  Bench bench;
  bench.state.election.claiming = true;
  bench.tell(ClaimDecided{2, true});
  EXPECT_EQ(bench.last<StartCoordinator>()->term, 2);
  CoordinatorExited crashed;
  crashed.term = 2;
  crashed.reason = "signal 9 (Killed)";
  bench.tell(crashed);
  ASSERT_NE(bench.last<ClaimTerm>(), nullptr);
  EXPECT_EQ(bench.last<ClaimTerm>()->term, 3);
}

TEST(Agent, KillsItsCoordinatorWhenALaterTermLeads) {
  Bench bench;
  bench.tell(ClaimDecided{2, true});
  Claims claims;
  claims.highest = Claim{3, "c", 1, "tcp://c:1", 0, false};
  Order order = bench.order(Wanted::Idle);
  order.term = 3;
  bench.tell(order);
  EXPECT_EQ(bench.count<KillCoordinator>(), 1);
}

TEST(Agent, DoesNotStartACoordinatorAgainThatRefusedTheJournal) {
  Bench bench;
  bench.options.alone = true;
  bench.tell(ClaimDecided{2, true});
  CoordinatorExited refused;
  refused.term = 2;
  refused.how = CoordinatorExited::How::Refused;
  refused.reason = "the journal was written by a newer weft";
  bench.tell(refused);
  bench.tell(AgentTick{});
  ASSERT_NE(bench.last<LeaveRun>(), nullptr);
  EXPECT_EQ(bench.last<LeaveRun>()->outcome, Outcome::Failed);
  EXPECT_EQ(bench.last<LeaveRun>()->reason, refused.reason);
}

/// A second at a time, until it leaves or `most` is over; `look` says what the directory is like.
template <class Look>
Duration seconds_until_it_leaves(Bench& bench, Duration most, Look look) {
  for (Duration gone{}; gone < most; gone += 1s) {
    if (bench.last<LeaveRun>() != nullptr) return gone;
    bench.clock.advance(1s);
    look();
    bench.tell(AgentTick{});
  }
  return most;
}

Claims led_by(const char* node, std::int64_t beat) {
  Claims claims;
  claims.highest = Claim{1, node, 1, std::string("tcp://") + node + ":1", beat, false};
  return claims;
}

TEST(Agent, WithoutALeaderWhereTheSharedDirectoryFailsItLeavesSoonAndResumably) {
  Bench bench;
  bench.work();
  bench.tell(WorkerExited{1, 4, 0, 0, ""});
  const auto unreadable = [&] { bench.tell(ClaimsUnreadable{{Code::Io, "cannot list terms"}}); };
  EXPECT_EQ(seconds_until_it_leaves(bench, 3min, unreadable), 3min) << "a worker still steps";
  bench.tell(WorkerExited{1, 5, 0, 0, ""});
  bench.tell(AgentTick{});
  ASSERT_NE(bench.last<LeaveRun>(), nullptr);
  EXPECT_EQ(bench.last<LeaveRun>()->outcome, Outcome::Failed);
  EXPECT_EQ(bench.last<LeaveRun>()->code, Code::Io) << "what one node's run ends with: 77";
  EXPECT_NE(bench.last<LeaveRun>()->reason.find("cannot list terms"), std::string::npos);
}

TEST(Agent, ADiskThatCanBeReadAndNotWrittenEndsTheWaitingToo) {
  Bench bench;
  const auto full = [&] {
    bench.tell(ClaimsRead{led_by("a", 0)});
    if (!bench.state.election.claiming) return;
    bench.tell(ClaimsUnreadable{{Code::Io, "No space left on device"}});
    bench.tell(ClaimDecided{2, false});
  };
  const Duration left = seconds_until_it_leaves(bench, 5min, full);
  EXPECT_GE(left, bench.options.storage_bound);
  EXPECT_LT(left, bench.options.storage_bound + 30s);
  ASSERT_NE(bench.last<LeaveRun>(), nullptr);
  EXPECT_EQ(bench.last<LeaveRun>()->code, Code::Io);
}

TEST(Agent, ALeaderThatCouldNotWriteTheRunsEndIsNotWaitedForTenMinutes) {
  Bench bench;
  bench.tell(ClaimDecided{2, true});
  CoordinatorExited refused;
  refused.term = 2;
  refused.how = CoordinatorExited::How::Refused;
  refused.reason = "the run's end (finished) could not be written down";
  refused.storage = true;
  bench.tell(refused);
  Claims claims = led_by("b", 3);
  claims.highest->term = 2;
  const auto read = [&] { bench.tell(ClaimsRead{claims}); };
  EXPECT_LT(seconds_until_it_leaves(bench, 5min, read), bench.options.storage_bound + 30s);
  ASSERT_NE(bench.last<LeaveRun>(), nullptr);
  EXPECT_EQ(bench.last<LeaveRun>()->code, Code::Io);
}

TEST(Agent, ADirectoryThatFailedForAWhileIsNoReasonToLeaveALeader) {
  Bench bench;
  std::int64_t beat = 0;
  int second = 0;
  // Its leader cannot be heard, but renews its lease; the directory fails for a second of ten.
  const auto now_and_then = [&] {
    if (++second % 10 == 0)
      bench.tell(ClaimsUnreadable{{Code::Io, "stale file handle"}});
    else
      bench.tell(ClaimsRead{led_by("a", ++beat)});
  };
  EXPECT_EQ(seconds_until_it_leaves(bench, 5min, now_and_then), 5min);
  // And what is heard again ends the counting.
  Bench heard;
  for (int i = 0; i < 100; ++i) {
    heard.clock.advance(1s);
    heard.tell(ClaimsUnreadable{{Code::Io, "stale file handle"}});
    if (i % 30 == 29) heard.tell(heard.order(Wanted::Idle));
    heard.tell(AgentTick{});
  }
  EXPECT_EQ(heard.last<LeaveRun>(), nullptr);
}

TEST(Agent, NobodyWhoEverLedIsWaitedForWithoutEnd) {
  Bench bench;
  bench.tell(ClaimDecided{2, true});
  CoordinatorExited exited;
  exited.term = 2;
  exited.how = CoordinatorExited::How::SteppedDown;
  bench.tell(exited);
  bench.state.election.refused = true;  // nor may it lead again
  EXPECT_LT(seconds_until_it_leaves(bench, 20min, [] {}), 11min);
  EXPECT_NE(bench.last<LeaveRun>(), nullptr);
}

TEST(Agent, LeavesWhenItsWorkersAreGoneAndItsRecordsAreTaken) {
  Bench bench;
  bench.work();
  bench.tell(RecordMade{1, 4, {0, 1}});
  bench.tell(SpoolWritten{1, 4, 1});
  Order order = bench.order(Wanted::Leave);
  order.outcome = Outcome::Finished;
  bench.tell(order);
  bench.tell(WorkerExited{1, 4, 0, 0, ""});
  bench.tell(WorkerExited{1, 5, 0, 0, ""});
  bench.tell(AgentTick{});
  EXPECT_EQ(bench.count<LeaveRun>(), 0);
  bench.tell(Acknowledgement{1, 1, 4, 1});
  bench.tell(AgentTick{});
  ASSERT_EQ(bench.count<LeaveRun>(), 1);
  EXPECT_EQ(bench.last<LeaveRun>()->outcome, Outcome::Finished);
  EXPECT_TRUE(bench.last<SendReport>()->report.left);
}

TEST(Agent, AskedTwiceWithoutALeaderStopsByItself) {
  Bench bench;
  bench.work();
  bench.clock.advance(5s);
  bench.tell(AgentStopAsked{});
  bench.tell(AgentStopAsked{});
  bench.tell(AgentTick{});
  bench.tell(WorkerExited{1, 4, 0, 15, ""});
  bench.tell(WorkerExited{1, 5, 0, 15, ""});
  bench.tell(AgentTick{});
  ASSERT_NE(bench.last<LeaveRun>(), nullptr);
  EXPECT_EQ(bench.last<LeaveRun>()->outcome, Outcome::Stopped);
}

}  // namespace
}  // namespace weft::runtime

#include "runtime/coordinator/coordinator.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace weft::runtime {
namespace {

using namespace std::chrono_literals;

/// A coordinator and the agents' side of the talk, reduced to what a test says.
struct Bench {
  explicit Bench(int world) : state(start_state(world, clock.now(), options)) {
    clock.advance(1h);
    tell(TermBegan{1, "a", {}});
  }

  void tell(const Event& event) {
    Decision decision = decide(std::move(state), event, clock.now(), options);
    state = std::move(decision.state);
    for (auto& action : decision.actions) actions.push_back(std::move(action));
    if (!decision.reason.empty()) reasons += decision.reason + "\n";
    durable = decision.durable;
  }
  /// The node as it stands, said again.
  Report& of(const std::string& node) {
    Report& report = nodes[node];
    report.node = node;
    report.term = state.term;
    if (report.incarnation == 0) report.incarnation = 1;
    return report;
  }
  void join(const std::string& node, int slots, int roster = 0) {
    Report& report = of(node);
    report.facts = NodeFacts{};
    report.facts->slots = slots;
    report.facts->roster = roster;
    say(node);
  }
  void say(const std::string& node) {
    Report& report = of(node);
    ++report.number;
    const auto known = state.nodes.find(node);
    if (known != state.nodes.end()) report.order = known->second.order.number;
    tell(report);
    report.facts.reset();
  }
  /// Answers the claim and the list of checkpoints.
  void let_form(const std::vector<Checkpoint>& checkpoints = {}) {
    tell(GenerationClaimed{state.generation, true});
    tell(CheckpointsListed{checkpoints});
  }
  /// Every placed worker of every node reaches this phase.
  void all(WorkerPhase phase, std::int64_t step = -1, bool early = false) {
    std::map<std::string, std::vector<WorkerStatus>> workers;
    for (int rank = 0; rank < state.world; ++rank) {
      WorkerStatus status;
      status.rank = rank;
      status.phase = phase;
      status.step = step;
      status.stopped_early = early;
      status.activity = Activity::Stepping;
      status.step_time = 1s;
      workers[state.placement[rank].node].push_back(status);
    }
    const std::int64_t generation = state.generation;
    for (auto& [node, statuses] : workers) {
      of(node).generation = generation;
      of(node).workers = std::move(statuses);
      say(node);
    }
  }
  WorkerStatus& worker(int rank) {
    for (auto& [name, report] : nodes)
      for (WorkerStatus& status : report.workers)
        if (status.rank == rank) return status;
    ADD_FAILURE() << "no worker " << rank;
    static WorkerStatus none;
    return none;
  }
  void die(int rank, int signal = 9) {
    WorkerStatus& status = worker(rank);
    status.phase = WorkerPhase::Failed;
    status.gone = true;
    status.failure = WorkerFailure{};
    status.failure->signal = signal;
    say(state.placement[rank].node);
  }
  /// As ordered: what still lives is killed.
  void let_end() {
    for (auto& [name, report] : nodes) {
      if (silent.contains(name)) continue;
      for (WorkerStatus& status : report.workers) {
        if (!status.gone && status.phase != WorkerPhase::Done) {
          status.phase = WorkerPhase::Failed;
          if (!status.failure) {
            status.failure = WorkerFailure{};
            status.failure->ordered = true;
          }
        }
        status.gone = true;
      }
      say(name);
    }
  }
  void run(int nodes_count, int slots) {
    for (int i = 0; i < nodes_count; ++i)
      join(std::string(1, static_cast<char>('a' + i)), slots, i);
    let_form();
    all(WorkerPhase::Ready);
    all(WorkerPhase::Working, 0);
  }
  void beat(Duration length) {
    for (Duration at{}; at < length; at += 200ms) {
      clock.advance(200ms);
      for (auto& [name, report] : nodes)
        if (!silent.contains(name)) say(name);
      tell(Tick{});
      if (state.phase == RunPhase::Ended || state.deposed) return;
    }
  }
  template <class Action>
  int count() const {
    int n = 0;
    for (const auto& action : actions) n += std::holds_alternative<Action>(action);
    return n;
  }
  template <class Action>
  const Action* last() const {
    const Action* found = nullptr;
    for (const auto& action : actions)
      if (const auto* one = std::get_if<Action>(&action)) found = one;
    return found;
  }
  bool said(const std::string& what) const { return reasons.find(what) != std::string::npos; }

  SimClock clock;
  CoordinatorOptions options;
  CoordinatorState state;
  std::map<std::string, Report> nodes;
  std::set<std::string> silent;
  std::vector<CoordinatorAction> actions;
  std::string reasons;
  bool durable = false;
};

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

// --- Copies in a node's memory -------------------------------------------------------------------

/// A generation of two ranks on node a, whose memory holds the state of step 45, ends.
void lose_a_worker_after_a_copy(Bench& bench, const std::vector<Checkpoint>& on_disk) {
  bench.of("a").copies = {{{45, 1, in_memory("step-45")}}};
  bench.say("a");
  bench.die(0);
  bench.let_end();
  bench.let_form(on_disk);
}

TEST(CoordinatorCopies, TheNewerCopyInMemoryIsResumedFrom) {
  Bench bench(2);
  bench.run(1, 2);
  lose_a_worker_after_a_copy(bench, {{40, 1, "step-40"}});
  ASSERT_TRUE(bench.state.resume);
  EXPECT_EQ(bench.state.resume->name, "memory/step-45");
  EXPECT_EQ(bench.last<TruncateAfter>()->step, 45);
  EXPECT_TRUE(bench.said("from the copy in memory of step 45")) << bench.reasons;
}

TEST(CoordinatorCopies, OfTheSameStepTheOneInMemoryIsTaken) {
  Bench bench(2);
  bench.run(1, 2);
  lose_a_worker_after_a_copy(bench, {{45, 1, "step-45"}});
  EXPECT_EQ(bench.state.resume->name, "memory/step-45");
}

TEST(CoordinatorCopies, ANewerCheckpointOnTheDiskIsTaken) {
  Bench bench(2);
  bench.run(1, 2);
  lose_a_worker_after_a_copy(bench, {{50, 1, "step-50"}});
  EXPECT_EQ(bench.state.resume->name, "step-50");
}

TEST(CoordinatorCopies, ADamagedOneIsNotTakenAgain) {
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

TEST(CoordinatorCopies, WhereTheRanksGoToAnotherNodeItIsOfNoUse) {
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

/// Two ranks on nodes a and b and a spare c. Each node keeps its own part of the state of step 45
/// and a replica of the other's.
void copy_to_partners(Bench& bench) {
  bench.run(3, 1);
  const Checkpoint copy{45, 1, in_memory("step-45")};
  bench.of("a").copies = {{copy, 2, 0, 1}};
  bench.of("b").copies = {{copy, 2, 1, 0}};
  bench.say("a");
  bench.say("b");
}

void lose_node(Bench& bench, const std::string& node) {
  bench.silent.insert(node);
  bench.beat(5s);
  bench.let_end();
}

TEST(CoordinatorCopies, AfterANodesLossItsPartnersReplicaMakesTheCopyWhole) {
  Bench bench(2);
  copy_to_partners(bench);
  lose_node(bench, "b");
  ASSERT_EQ(bench.state.phase, RunPhase::Claiming);
  bench.let_form({{40, 1, "step-40"}});
  EXPECT_EQ(bench.state.placement[0].node, "a");
  EXPECT_EQ(bench.state.placement[1].node, "c");
  ASSERT_TRUE(bench.state.resume);
  EXPECT_EQ(bench.state.resume->name, "memory/step-45");
}

TEST(CoordinatorCopies, WhenBothPartnersAreLostItGoesBackToTheDiskAndSaysWhy) {
  Bench bench(2);
  bench.run(5, 1);
  // Three parts in a ring: a keeps a and c, b keeps b and a; c, which keeps c and b, has no ranks.
  const Checkpoint copy{45, 1, in_memory("step-45")};
  bench.of("a").copies = {{copy, 3, 0, 2}};
  bench.of("b").copies = {{copy, 3, 1, 0}};
  bench.of("c").copies = {{copy, 3, 2, 1}};
  for (const char* node : {"a", "b", "c"}) bench.say(node);
  bench.silent = {"a", "b"};
  bench.beat(5s);
  bench.let_end();
  bench.let_form({{40, 1, "step-40"}});
  ASSERT_TRUE(bench.state.resume);
  EXPECT_EQ(bench.state.resume->name, "step-40");
  EXPECT_TRUE(
      bench.said("the copy in memory of step 45 is of no use: the shards of node a are on "
                 "none of the nodes in use"))
      << bench.reasons;
}

TEST(CoordinatorCopies, OfACopyThatNotAllHaveTheOneBeforeIsTaken) {
  Bench bench(2);
  copy_to_partners(bench);
  // b was lost while its part of step 50 was on its way: only a has committed.
  bench.of("a").copies.push_back({{50, 1, in_memory("step-50")}, 2, 0, -1});
  bench.say("a");
  lose_node(bench, "b");
  bench.let_form();
  ASSERT_TRUE(bench.state.resume);
  EXPECT_EQ(bench.state.resume->name, "memory/step-45");
  EXPECT_TRUE(bench.said("the copy in memory of step 50 is of no use: the shards of node number 1"))
      << bench.reasons;
}

TEST(CoordinatorCopies, PartsOfDifferentGenerationsAreNotMixed) {
  Bench bench(2);
  copy_to_partners(bench);
  bench.of("b").copies[0].checkpoint.generation = 0;
  bench.of("a").copies[0].replica = -1;
  bench.of("b").copies[0].replica = -1;
  bench.say("a");
  bench.say("b");
  bench.die(0);
  bench.let_end();
  bench.let_form({{40, 1, "step-40"}});
  EXPECT_EQ(bench.state.resume->name, "step-40");
}

TEST(CoordinatorCopies, NodesThatDisagreeAboutTheNumberOfPartsHaveNone) {
  Bench bench(2);
  copy_to_partners(bench);
  bench.of("b").copies[0].parts = 3;
  bench.say("b");
  bench.die(0);
  bench.let_end();
  bench.let_form({{40, 1, "step-40"}});
  EXPECT_EQ(bench.state.resume->name, "step-40");
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

TEST(Coordinator, TakesOverFromTheJournalWithoutEndingTheGeneration) {
  Bench bench(4);
  bench.run(2, 2);
  bench.all(WorkerPhase::Working, 12);
  bench.tell(TermBegan{2, "b", {}});
  bench.actions.clear();
  bench.all(WorkerPhase::Working, 13);
  EXPECT_EQ(bench.state.phase, RunPhase::Running);
  EXPECT_EQ(bench.state.generation, 1);
  EXPECT_EQ(bench.count<ClaimGeneration>(), 0);
  EXPECT_EQ(bench.last<SendOrder>()->order.wanted, Wanted::Work);
  EXPECT_EQ(bench.last<SendOrder>()->order.term, 2);
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

TEST(Coordinator, FailsWhenTheNodesDoNotCome) {
  Bench bench(4);
  bench.join("a", 2);
  bench.beat(10min + 1s);
  EXPECT_EQ(bench.state.outcome, Outcome::Failed);
  EXPECT_TRUE(bench.said("4 slots are needed and 2 were there"));
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

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "chrome_check.h"
#include "dualpipe/executor.h"
#include "dualpipe/measured.h"
#include "fake_pipeline.h"
#include "recording.h"

namespace weft::dualpipe {
namespace {

using testing::HasSubstr;

struct QuietEnd final : StepEnd {
  Expected<void> reduce(int) override { return {}; }
  Expected<void> update() override { return {}; }
  Expected<void> snapshot() override { return {}; }
};

RingInfo info_of(const Schedule& schedule, int position) {
  RingInfo info;
  info.rank = info.position = position;
  info.world = info.ranks = schedule.ranks;
  info.kind = static_cast<int>(schedule.kind);
  info.micro_batches = schedule.micro_batches;
  info.chunks = schedule.chunks;
  return info;
}

/// Runs a real pipeline of threads, each position with its recorder; what the rings then say.
std::vector<RankRecording> recorded(const Schedule& schedule, int steps) {
  const int count = num_stages(schedule.kind, schedule.ranks, schedule.chunks);
  FakeWire wire(schedule.ranks);
  std::vector<std::unique_ptr<MemoryRing>> rings;
  for (int p = 0; p < schedule.ranks; ++p)
    rings.push_back(std::make_unique<MemoryRing>(RingSize{2, 1000}, info_of(schedule, p)));
  std::vector<std::thread> threads;
  for (int position = 0; position < schedule.ranks; ++position) {
    threads.emplace_back([&, position] {
      const auto p = static_cast<std::size_t>(position);
      FakeCommunicator group(wire, position);
      std::vector<std::unique_ptr<FakeStage>> own;
      std::vector<Stage*> stages(static_cast<std::size_t>(count), nullptr);
      for (int s : stages_of(schedule.kind, schedule.ranks, position, schedule.chunks)) {
        own.push_back(std::make_unique<FakeStage>(s, count, 2, nullptr));
        stages[static_cast<std::size_t>(s)] = own.back().get();
      }
      QuietEnd end;
      Executor executor(stages, &end, group, {});
      StepRecorder& recorder = rings[p]->recorder();
      executor.set_recorder(&recorder);
      for (int step = 1; step <= steps; ++step) {
        recorder.begin_step(step, "pretrain");
        const RecordedPass pass(&recorder, Program::Train);
        ASSERT_TRUE(executor.run(schedule.programs[p]));
      }
      recorder.end_step();
      EXPECT_LE(rings[p]->read()->steps.back().records.size(),
                executor.records_of(schedule.programs[p]) + 2);
    });
  }
  for (auto& thread : threads) thread.join();
  std::vector<RankRecording> recordings;
  for (auto& ring : rings) recordings.push_back(*ring->read());
  return recordings;
}

Schedule lowered(Kind kind, int ranks, int micro_batches) {
  return add_step_end(add_messages(*generate(kind, {ranks, micro_batches})));
}

TEST(MeasuredTrace, OfEachKindNestsHasBothEndsOfEveryMessageAndThePredictionBesideIt) {
  for (const auto& [kind, ranks, micro_batches] :
       {std::tuple(Kind::DualPipe, 4, 8), std::tuple(Kind::DualPipeV, 2, 4),
        std::tuple(Kind::OneFOneB, 3, 4), std::tuple(Kind::ZeroBubble, 2, 3)}) {
    const Schedule schedule = lowered(kind, ranks, micro_batches);
    const auto steps = measured_steps(recorded(schedule, 2));
    ASSERT_EQ(steps.size(), 2u);
    const MeasuredStep& step = steps.back();
    EXPECT_EQ(step.step, 2);
    EXPECT_TRUE(step.closed);
    const auto costs = measured_costs(step);
    ASSERT_TRUE(costs);
    const auto prediction = predict(step, *costs, "test");
    ASSERT_TRUE(prediction) << prediction.error().message;
    const ChromeTrace trace = checked_trace(to_chrome_trace(step, &*prediction));
    EXPECT_EQ(trace.process_names.size(), 2 * static_cast<std::size_t>(ranks));
    // Every message of the program has its arrow, and every predicted one.
    std::size_t sends = 0;
    for (const auto& program : schedule.programs)
      for (const Action& action : program)
        sends += action.op == Op::SendF || action.op == Op::SendB;
    EXPECT_EQ(trace.arrow_ends.size(), sends + prediction->times.transfers.size());
  }
}

TEST(MeasuredTrace, SlicesSayMicroBatchDirectionBytesAndPeer) {
  const auto steps = measured_steps(recorded(lowered(Kind::DualPipe, 2, 4), 1));
  ASSERT_EQ(steps.size(), 1u);
  const auto document = nlohmann::json::parse(to_chrome_trace(steps[0], nullptr));
  int messages = 0, phases = 0, exchanges = 0, actions = 0;
  for (const auto& event : document["traceEvents"]) {
    if (event["ph"] != "X" || event["tid"] == 0) {
      if (event["ph"] == "X" && event["cat"] == "phase") {
        ++phases;
        for (const char* key : {"micro_batch", "direction", "stage", "layer"})
          EXPECT_TRUE(event["args"].contains(key)) << key;
      }
      actions += event["ph"] == "X" && event["cat"] == "action";
      continue;
    }
    const auto& arguments = event["args"];
    EXPECT_TRUE(arguments.contains("micro_batch") && arguments.contains("direction"));
    if (event["cat"] == "exchange") {
      ++exchanges;
    } else {
      ++messages;
      EXPECT_EQ(arguments["bytes"], 24);
      EXPECT_TRUE(arguments["peer"].is_number());
    }
  }
  EXPECT_EQ(messages, 2 * 2 * 4);       // two ends, two passes, four micro-batches
  EXPECT_EQ(exchanges, 2 * 4 * 2 * 4);  // two positions, four chunk passes, two layers, four each
  EXPECT_GT(phases, 0);
  EXPECT_GT(actions, 0);
  EXPECT_EQ(document["otherData"]["predicted"], "not");
}

/// A step of 1f1b on one position that took what it is told.
RankRecording told(std::vector<Record> records) {
  MemoryRing ring({.steps = 1, .records = 100});
  ring.recorder().begin_step(1, "pretrain");
  const std::int64_t base = StepRecorder::now_ns();
  ring.recorder().begin_pass(Program::Train);
  for (Record record : records) {
    record.begin_ns += base;
    record.end_ns += base;
    ring.recorder().add(record);
  }
  ring.recorder().end_step();
  return *ring.read();
}

Record action(Op op, std::int64_t begin, std::int64_t end) {
  Record record;
  record.op = static_cast<std::uint8_t>(op);
  record.begin_ns = begin;
  record.end_ns = end;
  record.stage = record.action = 0;
  record.micro_batch = 0;
  return record;
}

TEST(MeasuredCosts, AreMeanDurationsWithoutTheWaitsForMessages) {
  Record wait = action(Op::RecvF, 0, 5000);
  wait.what = Record::What::Receive;
  wait.tail_ns = 3000;
  wait.peer = 0;
  const RankRecording rank = told({wait, action(Op::F, 1000, 9000), action(Op::F, 10000, 13000),
                                   action(Op::B, 20000, 26000), action(Op::Update, 30000, 31000)});
  const auto steps = measured_steps(std::vector{rank});
  ASSERT_EQ(steps.size(), 1u);
  const auto costs = measured_costs(steps[0]);
  ASSERT_TRUE(costs);
  EXPECT_DOUBLE_EQ(costs->per_rank[0].f, (5.0 + 3.0) / 2);
  EXPECT_DOUBLE_EQ(costs->per_rank[0].b, 6);
  const StepSummary summary = summarize(steps[0]);
  EXPECT_DOUBLE_EQ(summary.pipeline, 25);
  EXPECT_DOUBLE_EQ(summary.positions[0].busy, 14);
  EXPECT_DOUBLE_EQ(summary.positions[0].bubble, 11);
  EXPECT_DOUBLE_EQ(summary.step_end, 1);
}

TEST(MeasuredSteps, RanksOfAnOlderAttemptAndOtherReplicasAreLeftOut) {
  std::vector<RankRecording> recordings = recorded(lowered(Kind::OneFOneB, 2, 2), 1);
  recordings.push_back(recordings[0]);
  for (RankRecording& one : recordings) one.info.attempt = 2;
  recordings[2].info.attempt = 1;
  recordings[2].info.rank = 1;
  EXPECT_EQ(measured_steps(recordings).at(0).ranks.size(), 2u);
  EXPECT_EQ(measured_steps(recordings, 0).at(0).ranks.size(), 2u);
  EXPECT_TRUE(measured_steps(recordings, 1).empty());
  // A rank whose ring is gone: the step is shown, but not as whole.
  recordings.erase(recordings.begin());
  EXPECT_FALSE(measured_steps(recordings).at(0).closed);
}

TEST(MeasuredSteps, RanksOfAnotherHostAreMovedToTheFirstOnesClock) {
  std::vector<RankRecording> recordings = recorded(lowered(Kind::OneFOneB, 2, 2), 1);
  const auto before = measured_steps(recordings);
  constexpr std::int64_t kBootedLater = 3'600'000'000'000;
  RankRecording& other = recordings[1];
  other.info.clock = 77;
  other.info.wall_ns = recordings[0].info.wall_ns = 1'700'000'000'000'000'000;
  other.info.monotonic_ns = recordings[0].info.monotonic_ns + kBootedLater;
  for (RecordedStep& step : other.steps) {
    step.begin_ns += kBootedLater;
    step.end_ns += kBootedLater;
    for (Record& record : step.records) {
      record.begin_ns += kBootedLater;
      record.end_ns += kBootedLater;
    }
  }
  const auto after = measured_steps(recordings);
  EXPECT_EQ(after.at(0).ranks[1].recorded.begin_ns, before.at(0).ranks[1].recorded.begin_ns);
  EXPECT_EQ(after.at(0).end_ns, before.at(0).end_ns);
}

}  // namespace
}  // namespace weft::dualpipe

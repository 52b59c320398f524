#include "dualpipe/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "all_sizes.h"
#include "dualpipe/flow.h"
#include "dualpipe/plan.h"
#include "fake_pipeline.h"

namespace weft::dualpipe {
namespace {

using testing::HasSubstr;

constexpr int kLayers = 2;

/// A whole pipeline; stages[position][stage].
struct Pipeline {
  std::vector<std::vector<std::unique_ptr<FakeStage>>> stages;
  std::vector<std::vector<Call>> logs;
  std::vector<Expected<void>> results;
};

struct CountingEnd final : StepEnd {
  Expected<void> reduce(int stage) override {
    order.push_back("reduce " + std::to_string(stage));
    return {};
  }
  Expected<void> update() override {
    order.emplace_back("update");
    return {};
  }
  Expected<void> snapshot() override {
    order.emplace_back("snapshot");
    return {};
  }
  std::vector<std::string> order;
};

Pipeline make_pipeline(const Schedule& schedule) {
  Pipeline pipeline;
  const int count = num_stages(schedule.kind, schedule.ranks, schedule.chunks);
  pipeline.logs.resize(static_cast<std::size_t>(schedule.ranks));
  pipeline.results.resize(static_cast<std::size_t>(schedule.ranks));
  for (int position = 0; position < schedule.ranks; ++position) {
    auto& here = pipeline.stages.emplace_back(static_cast<std::size_t>(count));
    for (int stage : stages_of(schedule.kind, schedule.ranks, position, schedule.chunks)) {
      here[static_cast<std::size_t>(stage)] = std::make_unique<FakeStage>(
          stage, count, kLayers, &pipeline.logs[static_cast<std::size_t>(position)]);
    }
  }
  return pipeline;
}

/// Runs each position's program in its own thread, `steps` times.
void run(Pipeline& pipeline, const Schedule& schedule, Executor::Options options = {},
         bool rendezvous = false, int steps = 1) {
  FakeWire wire(schedule.ranks, rendezvous);
  std::vector<std::thread> threads;
  for (int position = 0; position < schedule.ranks; ++position) {
    threads.emplace_back([&, position] {
      const auto p = static_cast<std::size_t>(position);
      FakeCommunicator group(wire, position);
      group.set_wait_bound(std::chrono::seconds(20));
      std::vector<Stage*> stages;
      for (auto& stage : pipeline.stages[p]) stages.push_back(stage.get());
      CountingEnd end;
      Executor executor(stages, &end, group, options);
      for (int step = 0; step < steps && pipeline.results[p]; ++step) {
        pipeline.results[p] = executor.run(schedule.programs[p]);
      }
      if (!pipeline.results[p]) wire.abort();
    });
  }
  for (auto& thread : threads) thread.join();
}

/// The gradients of all stages worked out in one place, micro-batch after micro-batch.
std::vector<FakeStage> direct(int stages, int direction, int micro_batches) {
  std::vector<FakeStage> all;
  for (int s = 0; s < stages; ++s) all.emplace_back(s, stages, kLayers, nullptr);
  const auto pass_all = [](FakeStage& stage, Pass pass, const Chunk& chunk) {
    for (const Phase& phase : stage.phases(pass)) {
      ASSERT_TRUE(stage.begin(pass, phase, chunk));
      if (!communicates(phase)) continue;
      ASSERT_TRUE(stage.finish(pass, phase, chunk));
    }
  };
  const auto copy = [](std::span<const std::byte> from, std::span<std::byte> to) {
    std::memcpy(to.data(), from.data(), from.size());
  };
  for (int mb = 0; mb < micro_batches; ++mb) {
    for (int s = 0; s < stages; ++s) {
      const auto at = static_cast<std::size_t>(s);
      if (s > 0) {
        copy(all[at - 1].outgoing(Pass::Forward, {direction, s - 1, mb}),
             all[at].incoming(Pass::Forward, {direction, s, mb}));
      }
      pass_all(all[at], Pass::Forward, {direction, s, mb});
    }
    for (int s = stages - 1; s >= 0; --s) {
      const auto at = static_cast<std::size_t>(s);
      if (s + 1 < stages) {
        copy(all[at + 1].outgoing(Pass::Backward, {direction, s + 1, mb}),
             all[at].incoming(Pass::Backward, {direction, s, mb}));
      }
      pass_all(all[at], Pass::Backward, {direction, s, mb});
    }
  }
  return all;
}

Schedule lowered(Kind kind, int ranks, int n) {
  return add_step_end(add_messages(must_generate(kind, ranks, n)));
}

/// Bit-equal to the plain accumulation; for DualPipe each copy of a stage to its direction's half.
void expect_right_gradients(const Pipeline& pipeline, const Schedule& schedule) {
  const int count = num_stages(schedule.kind, schedule.ranks, schedule.chunks);
  const int directions = num_directions(schedule.kind);
  for (int direction = 0; direction < directions; ++direction) {
    const auto truth = direct(count, direction, schedule.micro_batches / directions);
    for (int s = 0; s < count; ++s) {
      const int position =
          position_of(schedule.kind, schedule.ranks, direction, s, schedule.chunks);
      const FakeStage& stage =
          *pipeline.stages[static_cast<std::size_t>(position)][static_cast<std::size_t>(s)];
      const FakeStage& expected = truth[static_cast<std::size_t>(s)];
      EXPECT_EQ(stage.attention_gradient, expected.attention_gradient) << "stage " << s;
      EXPECT_EQ(stage.experts_gradient, expected.experts_gradient) << "stage " << s;
      EXPECT_EQ(stage.loss, expected.loss);
      EXPECT_EQ(stage.outstanding, 0) << "every send is ended";
    }
  }
}

TEST(Executor, GivesTheGradientsOfPlainAccumulationForEveryKind) {
  for (Kind kind : kAllKinds) {
    for (int ranks : {1, 2, 4, 8}) {
      const int n = std::max(8, 2 * ranks);
      if (!check_size(kind, {ranks, n, 2})) continue;
      for (const bool overlap : {true, false}) {
        for (const bool rendezvous : {false, true}) {
          SCOPED_TRACE(testing::Message() << to_string(kind) << " on " << ranks << " overlap "
                                          << overlap << " rendezvous " << rendezvous);
          const Schedule schedule = lowered(kind, ranks, n);
          Pipeline pipeline = make_pipeline(schedule);
          run(pipeline, schedule, {overlap}, rendezvous);
          for (const auto& result : pipeline.results) {
            ASSERT_TRUE(result) << result.error().message;
          }
          expect_right_gradients(pipeline, schedule);
        }
      }
    }
  }
}

TEST(Executor, RunsForwardsAlone) {
  for (Kind kind : kAllKinds) {
    const Schedule schedule = add_messages(*generate_forward(kind, {2, 6, 2}));
    Pipeline pipeline = make_pipeline(schedule);
    run(pipeline, schedule);
    for (const auto& result : pipeline.results) ASSERT_TRUE(result) << result.error().message;
  }
}

TEST(Executor, RunsWeightGradientsAfterTheirBackward) {
  const Schedule schedule = lowered(Kind::ZeroBubble, 2, 4);
  Pipeline pipeline = make_pipeline(schedule);
  run(pipeline, schedule);
  for (const auto& log : pipeline.logs) {
    std::map<std::tuple<int, PhaseKind, int>, bool> input_done;
    for (const Call& call : log) {
      if (call.pass != Pass::Backward || communicates(call.phase)) continue;
      const std::tuple key{call.chunk.micro_batch, call.phase.kind, call.phase.layer};
      if (call.phase.part == Part::Input) input_done[key] = true;
      EXPECT_TRUE(call.phase.part == Part::Input || input_done[key]);
    }
  }
}

TEST(Executor, TheOrderOfExchangesIsTheSameInEveryRunAndOnEveryLane) {
  const Schedule schedule = lowered(Kind::DualPipe, 2, 8);
  Pipeline one = make_pipeline(schedule);
  Pipeline two = make_pipeline(schedule);
  run(one, schedule);
  run(two, schedule, {}, true);
  EXPECT_EQ(one.logs, two.logs);
}

TEST(Executor, ExchangesOfAPairAreHiddenBehindTheOtherPass) {
  const Schedule schedule = lowered(Kind::DualPipe, 2, 4);
  Pipeline pipeline = make_pipeline(schedule);
  run(pipeline, schedule);
  // Somewhere between begin and finish of an exchange another pass computes.
  int hidden = 0;
  const auto& log = pipeline.logs[0];
  for (std::size_t i = 0; i + 1 < log.size(); ++i) {
    if (!log[i].finish && communicates(log[i].phase) && log[i + 1].chunk != log[i].chunk) ++hidden;
  }
  EXPECT_GT(hidden, 0);
}

// Two lanes of two positions: the lanes of a position exchange at every dispatch and combine. Sends
// wait for their receivers and nothing moves outside a wait on the same communicator: the transport
// that deadlocks most easily.
TEST(Executor, ExpertExchangesAndPipelineMessagesNeverWaitForEachOther) {
  constexpr int kLanes = 2;
  for (Kind kind : {Kind::DualPipe, Kind::DualPipeV, Kind::OneFOneB, Kind::ZBV}) {
    SCOPED_TRACE(std::string(to_string(kind)));
    const Schedule schedule = lowered(kind, 2, 8);
    std::vector<Pipeline> lanes;
    std::vector<std::unique_ptr<FakeWire>> pipeline_wires, lane_wires;
    for (int lane = 0; lane < kLanes; ++lane) {
      lanes.push_back(make_pipeline(schedule));
      pipeline_wires.push_back(std::make_unique<FakeWire>(schedule.ranks, true));
    }
    for (int p = 0; p < schedule.ranks; ++p) {
      lane_wires.push_back(std::make_unique<FakeWire>(kLanes, true));
    }
    std::vector<std::thread> threads;
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int position = 0; position < schedule.ranks; ++position) {
        threads.emplace_back([&, lane, position] {
          const auto l = static_cast<std::size_t>(lane);
          const auto p = static_cast<std::size_t>(position);
          FakeCommunicator pipeline(*pipeline_wires[l], position);
          FakeCommunicator across(*lane_wires[p], lane);
          pipeline.set_wait_bound(std::chrono::seconds(20));
          across.set_wait_bound(std::chrono::seconds(20));
          std::vector<Stage*> stages;
          for (auto& stage : lanes[l].stages[p]) {
            if (stage) stage->lanes = &across;
            stages.push_back(stage.get());
          }
          CountingEnd end;
          Executor executor(stages, &end, pipeline, {});
          lanes[l].results[p] = executor.run(schedule.programs[p]);
        });
      }
    }
    for (auto& thread : threads) thread.join();
    for (const Pipeline& lane : lanes) {
      for (const auto& result : lane.results) ASSERT_TRUE(result) << result.error().message;
      EXPECT_EQ(lane.logs, lanes[0].logs);
      expect_right_gradients(lane, schedule);
    }
  }
}

TEST(Executor, RunsTheStepEndInOrderAndOnlyWithOne) {
  const Schedule schedule = lowered(Kind::GPipe, 1, 1);
  FakeWire wire(1);
  FakeCommunicator group(wire, 0);
  FakeStage stage(0, 1, 1, nullptr);
  CountingEnd end;
  Executor executor({&stage}, &end, group, {});
  ASSERT_TRUE(executor.run(schedule.programs[0]));
  EXPECT_THAT(end.order, testing::ElementsAre("reduce 0", "update", "snapshot"));
  Executor without({&stage}, nullptr, group, {});
  EXPECT_THAT(without.run(schedule.programs[0]).error().message, HasSubstr("no StepEnd"));
}

TEST(Executor, RecordsEveryActionAndItsPlace) {
  const Schedule schedule = lowered(Kind::GPipe, 1, 2);
  FakeWire wire(1);
  FakeCommunicator group(wire, 0);
  FakeStage stage(0, 1, 1, nullptr);
  CountingEnd end;
  Executor executor({&stage}, &end, group, {});
  std::vector<Span> spans;
  executor.set_recorder(&spans);
  ASSERT_TRUE(executor.run(schedule.programs[0]));
  ASSERT_EQ(spans.size(), schedule.programs[0].size());
  for (std::size_t i = 0; i < spans.size(); ++i) {
    EXPECT_EQ(spans[i].action, schedule.programs[0][i]);
    EXPECT_LE(spans[i].begin_ns, spans[i].end_ns);
  }
  EXPECT_EQ(executor.position(), static_cast<int>(spans.size()) - 1);
}

TEST(Executor, AFailingStageEndsTheRunWithTheActionInTheError) {
  const Schedule schedule = lowered(Kind::OneFOneB, 2, 4);
  Pipeline pipeline = make_pipeline(schedule);
  pipeline.stages[1][1]->fail_at = {0, 1, 2};
  run(pipeline, schedule);
  ASSERT_FALSE(pipeline.results[1]);
  EXPECT_EQ(pipeline.results[1].error().code, Code::Unavailable);
  EXPECT_EQ(pipeline.results[1].error().message, "B dir 0 stage 1 mb 2: the device is on fire");
  // The other side ends too, naming what it was waiting for.
  ASSERT_FALSE(pipeline.results[0]);
  EXPECT_THAT(pipeline.results[0].error().message, HasSubstr("RecvB dir 0 stage 0 mb"));
}

TEST(Executor, AWrongMessageIsAnErrorThatNamesTheAction) {
  Schedule schedule = lowered(Kind::GPipe, 2, 2);
  for (Action& action : schedule.programs[0]) {  // rank 0 works on micro-batches 1, 0
    if (action.op == Op::F || action.op == Op::SendF) action.chunk.micro_batch ^= 1;
  }
  Pipeline pipeline = make_pipeline(schedule);
  run(pipeline, schedule);
  ASSERT_FALSE(pipeline.results[1]);
  EXPECT_EQ(pipeline.results[1].error().code, Code::Corrupt);
  EXPECT_EQ(pipeline.results[1].error().message,
            "F dir 0 stage 1 mb 0: RecvF dir 0 stage 1 mb 0 from position 0: wrong tag or size");
}

TEST(Executor, AShortMessageIsAnError) {
  const Schedule schedule = lowered(Kind::GPipe, 2, 1);
  Pipeline pipeline = make_pipeline(schedule);
  pipeline.stages[0][0]->short_message = true;
  run(pipeline, schedule);
  ASSERT_FALSE(pipeline.results[1]);
  EXPECT_THAT(pipeline.results[1].error().message, HasSubstr("16 bytes came, expected 24"));
}

TEST(Executor, RefusesAProgramThatItsStagesCannotRun) {
  FakeWire wire(2);
  FakeCommunicator group(wire, 0);
  FakeStage stage(0, 2, 1, nullptr);
  Executor executor({&stage, nullptr}, nullptr, group, {});
  const auto run_one = [&](std::vector<Action> program) {
    return executor.run(program).error().message;
  };
  EXPECT_THAT(run_one({{Op::F, {0, 1, 0}, {}}}), HasSubstr("stage 1 is not on this rank"));
  EXPECT_THAT(run_one({{Op::F, {0, 9, 0}, {}}}), HasSubstr("stage 9 is not on this rank"));
  EXPECT_THAT(run_one({{Op::F, {0, 0, 0}, {}}}), HasSubstr("neither sent nor used"));
  EXPECT_THAT(run_one({{Op::B, {0, 0, 0}, {}}}), HasSubstr("neither received nor made"));
  EXPECT_THAT(run_one({{Op::SendF, {0, 0, 0}, {}, 1}}), HasSubstr("nothing before it makes"));
  EXPECT_THAT(run_one({{Op::RecvB, {0, 0, 0}, {}, 1}}), HasSubstr("nothing after it uses"));
}

TEST(MessageTag, IsTheSameOnBothSidesAndDifferentForEveryMessage) {
  for (Kind kind : kAllKinds) {
    const Schedule schedule = add_messages(must_generate(kind, 4, 8));
    std::map<std::pair<int, int>, std::vector<comm::Tag>> sent, received;  // from, to
    for (int rank = 0; rank < 4; ++rank) {
      for (const Action& a : schedule.programs[static_cast<std::size_t>(rank)]) {
        if (!is_message(a.op)) continue;
        auto& tags = is_send(a.op) ? sent[{rank, a.peer}] : received[{a.peer, rank}];
        tags.push_back(message_tag(a));
      }
    }
    EXPECT_EQ(sent, received);
    for (auto& [pair, tags] : sent) {
      std::sort(tags.begin(), tags.end());
      EXPECT_EQ(std::adjacent_find(tags.begin(), tags.end()), tags.end());
      EXPECT_NE(tags.front(), 0u);
    }
  }
}

}  // namespace
}  // namespace weft::dualpipe

// The same numbers whatever the layout: the pipelined, expert-sharded run against the plain one.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <mutex>

#include "runtime/worker/engine.h"
#include "tests/runtime/engine_world.h"

namespace weft::runtime {
namespace {

using dualpipe::Kind;

constexpr int kSteps = 20;
constexpr int kSequences = 16;

struct Curve {
  std::vector<double> loss, grad_norm, balance;
};

/// 20 steps of training in this layout; micro-batches hold the same sequences in the same order.
Curve train(
    const scheduler::Layout& layout, bool overlap = true,
    const std::function<void(EngineOptions&)>& change = [](EngineOptions&) {}) {
  EngineOptions options;
  options.layout = layout;
  options.model = tiny_model(4);
  options.max_tokens = 256;
  options.overlap = overlap;
  options.seed = 3;
  options.wait_bound = std::chrono::seconds(20);
  change(options);
  Curve curve;
  std::mutex mutex;
  on_every_rank(options, [&](Engine& engine) -> Expected<void> {
    Curve mine;
    for (int step = 0; step < kSteps; ++step) {
      const auto batch = random_batch(11, step % 4, kSequences, engine.num_micro_batches(),
                                      options.model.vocab_size);
      WEFT_TRY_ASSIGN(const TrainResult result, engine.train(batch, 3e-3, step + 1, false));
      mine.loss.push_back(result.loss);
      mine.grad_norm.push_back(result.grad_norm);
      mine.balance.push_back(result.balance_loss);
    }
    const std::scoped_lock lock(mutex);
    if (!curve.loss.empty()) {
      EXPECT_EQ(curve.loss, mine.loss) << "two ranks saw different losses";
    }
    curve = mine;
    return {};
  });
  return curve;
}

void expect_close(const Curve& a, const Curve& plain, double tolerance) {
  ASSERT_EQ(a.loss.size(), plain.loss.size());
  for (std::size_t i = 0; i < a.loss.size(); ++i)
    EXPECT_NEAR(a.loss[i], plain.loss[i], tolerance * std::abs(plain.loss[i])) << "step " << i;
}

TEST(EngineLayout, TheLossFalls) {
  const Curve plain = train({Kind::OneFOneB, 1, 1, 1, 8});
  EXPECT_NEAR(plain.loss.front(), std::log(64), 0.5);
  EXPECT_LT(plain.loss.back(), 0.9 * plain.loss.front());
}

TEST(EngineLayout, APipelineOfFourIsBitEqualToNone) {
  // Same micro-batches, same order of accumulation on every stage: no sum is reordered.
  const Curve plain = train({Kind::OneFOneB, 1, 1, 1, 8});
  const Curve pipelined = train({Kind::OneFOneB, 4, 1, 1, 8});
  EXPECT_EQ(pipelined.loss, plain.loss);
  EXPECT_EQ(pipelined.grad_norm, plain.grad_norm);
}

// Schedules of one direction accumulate every weight gradient in ascending micro-batch order,
// however they split and interleave the work.
TEST(EngineLayout, EveryOneDirectionalScheduleIsBitEqualToPlain) {
  const Curve plain = train({Kind::OneFOneB, 1, 1, 1, 8});
  for (const scheduler::Layout& layout :
       {scheduler::Layout{Kind::GPipe, 4, 1, 1, 8}, scheduler::Layout{Kind::ZeroBubble, 4, 1, 1, 8},
        scheduler::Layout{Kind::Interleaved, 2, 1, 1, 8}, scheduler::Layout{Kind::ZBV, 2, 1, 1, 8},
        scheduler::Layout{Kind::DualPipeV, 2, 1, 1, 8}}) {
    SCOPED_TRACE(dualpipe::to_string(layout.kind));
    const Curve curve = train(layout);
    EXPECT_EQ(curve.loss, plain.loss);
    EXPECT_EQ(curve.grad_norm, plain.grad_norm);
  }
}

TEST(EngineLayout, DualPipeVWithExpertShardsMatchesPlain) {
  expect_close(train({Kind::DualPipeV, 2, 2, 2, 4}), train({Kind::OneFOneB, 1, 1, 1, 8}), 1e-5);
}

TEST(EngineLayout, DualPipeWithTwoExpertShardsMatchesPlain) {
  expect_close(train({Kind::DualPipe, 2, 2, 2, 4}), train({Kind::OneFOneB, 1, 1, 1, 8}), 1e-5);
}

TEST(EngineLayout, DualPipeOverFourPositionsMatchesPlain) {
  expect_close(train({Kind::DualPipe, 4, 1, 1, 8}), train({Kind::OneFOneB, 1, 1, 1, 8}), 1e-5);
}

TEST(EngineLayout, FourExpertShardsMatchPlain) {
  expect_close(train({Kind::OneFOneB, 1, 4, 4, 2}), train({Kind::OneFOneB, 1, 1, 1, 8}), 1e-5);
}

TEST(EngineLayout, ExpertShardsWithReplicasMatchPlain) {
  expect_close(train({Kind::OneFOneB, 1, 4, 2, 2}), train({Kind::OneFOneB, 1, 1, 1, 8}), 1e-5);
}

TEST(EngineLayout, OverlapChangesNoNumber) {
  const Curve with = train({Kind::DualPipe, 2, 2, 2, 4}, true);
  const Curve without = train({Kind::DualPipe, 2, 2, 2, 4}, false);
  EXPECT_EQ(with.loss, without.loss);
  EXPECT_EQ(with.grad_norm, without.grad_norm);
}

TEST(EngineLayout, ASeedReproducesTheRunBitForBit) {
  const Curve first = train({Kind::DualPipe, 2, 2, 2, 4});
  const Curve second = train({Kind::DualPipe, 2, 2, 2, 4});
  EXPECT_EQ(first.loss, second.loss);
  EXPECT_EQ(first.grad_norm, second.grad_norm);
}

// The bias moves once a step by the load of the whole batch, and the balance loss is the mean over
// the whole batch's sequences: rates so large that another rule would show in the losses.
TEST(EngineLayout, BalancingSeesTheWholeBatchWhateverTheLayout) {
  const auto balanced = [](double bias_rate) {
    return [bias_rate](EngineOptions& options) {
      options.model.aux_loss_alpha = 0.2;
      options.router_bias_update_rate = bias_rate;
    };
  };
  const Curve plain = train({Kind::OneFOneB, 1, 1, 1, 8}, true, balanced(0.05));
  for (const scheduler::Layout& layout :
       {scheduler::Layout{Kind::DualPipe, 2, 2, 2, 4}, {Kind::OneFOneB, 2, 4, 2, 2}}) {
    SCOPED_TRACE(dualpipe::to_string(layout.kind));
    const Curve curve = train(layout, true, balanced(0.05));
    expect_close(curve, plain, 1e-5);
    for (std::size_t i = 0; i < plain.balance.size(); ++i)
      EXPECT_NEAR(curve.balance[i], plain.balance[i], 1e-5 * plain.balance[i]) << "step " << i;
  }
  // Three MoE layers, each about 1 where the load is even.
  EXPECT_GT(plain.balance.front(), 0.2 * 3 * 0.9);
  EXPECT_LT(plain.balance.front(), 0.2 * 3 * 2);
  const Curve without = train({Kind::OneFOneB, 1, 1, 1, 8}, true, balanced(0));
  EXPECT_GT(std::abs(without.loss.back() - plain.loss.back()), 2e-4 * plain.loss.back())
      << "the bias makes no difference that this test could see";
}

TEST(EngineLayout, AStudentWithGroupedQueriesIsTheSameInEveryLayout) {
  const auto student = [](EngineOptions& options) {
    trainer::ModelConfig& model = options.model;
    model.model_type = "qwen2";
    model.kv_lora_rank = model.q_lora_rank = model.n_routed_experts = 0;
    model.num_key_value_heads = 2;
    model.head_dim = 8;
    model.attention_bias = true;
  };
  const Curve plain = train({Kind::OneFOneB, 1, 1, 1, 8}, true, student);
  const Curve pipelined = train({Kind::ZBV, 2, 1, 1, 8}, true, student);
  EXPECT_EQ(pipelined.loss, plain.loss);
  EXPECT_EQ(pipelined.grad_norm, plain.grad_norm);
  expect_close(train({Kind::DualPipe, 2, 2, 1, 4}, true, student), plain, 1e-5);
}

TEST(EngineLayout, RanksOfDifferentSchedulesAreRefusedWithBothFingerprints) {
  EngineOptions mine;
  mine.layout = {dualpipe::Kind::OneFOneB, 2, 1, 1, 4};
  mine.model = tiny_model(4);
  EngineOptions theirs = mine;
  theirs.layout.micro_batches = 6;
  const auto world = comm::LocalWorld::create(2);
  ASSERT_TRUE(world);
  std::vector<std::string> errors(2);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank)
    threads.emplace_back([&, rank] {
      const auto transport = world->join(rank);
      const auto engine = Engine::create(**transport, rank == 0 ? mine : theirs);
      if (!engine) errors[rank] = engine.error().message;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors[0], errors[1]);
  EXPECT_NE(errors[0].find("rank 0: weft"), std::string::npos) << errors[0];
  EXPECT_NE(errors[0].find("4 micro-batches"), std::string::npos) << errors[0];
  EXPECT_NE(errors[0].find("6 micro-batches"), std::string::npos) << errors[0];
}

}  // namespace
}  // namespace weft::runtime

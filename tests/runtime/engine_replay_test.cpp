// A step whose numbers cannot be is done again: what was wrong once names its rank, what is wrong
// again is left out, and the run goes on with the numbers of an undisturbed one.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <mutex>

#include "tests/runtime/engine_world.h"

namespace weft::runtime {
namespace {

using dualpipe::Chunk;
using dualpipe::Kind;
using dualpipe::Pass;

constexpr int kSequences = 8;

EngineOptions options_of(const scheduler::Layout& layout) {
  EngineOptions options;
  options.layout = layout;
  options.model = tiny_model(4);
  options.max_tokens = 256;
  options.wait_bound = std::chrono::seconds(30);
  return options;
}

Expected<TrainResult> train(Engine& engine, int step, const StepLimits& limits = {}) {
  const auto batch = random_batch(11, step, kSequences, engine.num_micro_batches(), 64);
  return engine.train(batch, 3e-3, step + 1, false, limits);
}

/// Bits of one number that a rank gives out, flipped once, in its `nth` output of that pass.
struct Flip {
  int rank = -1;
  Pass pass = Pass::Forward;
  int nth = 0;
  bool nan = false;  // sets the bits that make it NaN; else flips the exponent's highest
};

void arm(Engine& engine, const Flip& flip) {
  if (engine.rank() != flip.rank) return;
  engine.watch_outputs(
      [flip, seen = 0](int, Pass pass, const Chunk&, std::span<trainer::Real> output) mutable {
        if (pass != flip.pass || seen++ != flip.nth) return;
        float& value = output[output.size() / 2];
        const auto bits = std::bit_cast<std::uint32_t>(value);
        value = std::bit_cast<float>(flip.nan ? bits | 0x7fc00000u : bits ^ (1u << 30));
      });
}

struct Trial {
  std::vector<TrainResult> results;  // by step; the same on every rank
  std::vector<double> losses;
};

Trial run(const EngineOptions& options, const Flip& flip, const StepLimits& limits = {}) {
  Trial kept;
  std::mutex mutex;
  on_every_rank(options, [&](Engine& engine) -> Expected<void> {
    std::vector<TrainResult> mine;
    for (int step = 0; step < 3; ++step) {
      if (step == 1) arm(engine, flip);
      WEFT_TRY_ASSIGN(TrainResult result, train(engine, step, limits));
      mine.push_back(std::move(result));
    }
    const std::scoped_lock lock(mutex);
    kept.results = mine;
    kept.losses.clear();
    for (const TrainResult& one : mine) kept.losses.push_back(one.loss);
    return {};
  });
  return kept;
}

void expect_named(const scheduler::Layout& layout, const Flip& flip, const StepLimits& limits) {
  const EngineOptions options = options_of(layout);
  const Trial plain = run(options, {});
  const Trial flipped = run(options, flip, limits);
  ASSERT_EQ(flipped.results.size(), 3u);
  EXPECT_EQ(flipped.results[0].tries, 1);
  const TrainResult& hit = flipped.results[1];
  EXPECT_EQ(hit.tries, 3);
  EXPECT_TRUE(hit.applied);
  ASSERT_TRUE(hit.corruption);
  EXPECT_EQ(hit.corruption->ranks, std::vector{flip.rank}) << hit.corruption->text;
  EXPECT_EQ(flipped.losses, plain.losses) << "and the run is the undisturbed one";
}

// What tiny models' losses never come near.
constexpr StepLimits kLimits{.loss = 100, .grad_norm = 1000};

TEST(EngineReplay, ANaNThatIsNoneTheSecondTimeNamesItsRank) {
  expect_named({Kind::OneFOneB, 4, 1, 1, 4}, {.rank = 2, .nth = 1, .nan = true}, kLimits);
}

TEST(EngineReplay, ABitFlippedInAGradientNamesItsRankInADualPipeWithExpertShards) {
  expect_named({Kind::DualPipe, 2, 2, 2, 4}, {.rank = 3, .pass = Pass::Backward}, kLimits);
}

TEST(EngineReplay, ANumberThatIsNaNAgainIsLeftOut) {
  on_every_rank(options_of({Kind::OneFOneB, 2, 1, 1, 4}), [](Engine& engine) -> Expected<void> {
    WEFT_TRY_ASSIGN(const TrainResult before, train(engine, 0, {}));
    EXPECT_TRUE(before.applied);
    auto batch = random_batch(11, 1, kSequences, engine.num_micro_batches(), 64);
    batch[1].weight[0] = std::nanf("");
    WEFT_TRY_ASSIGN(const TrainResult result, engine.train(batch, 3e-3, 2, false));
    EXPECT_FALSE(result.applied);
    EXPECT_EQ(result.tries, 2);
    EXPECT_FALSE(result.corruption);
    return {};
  });
}

TEST(EngineReplay, ASpikeIsLeftOutAndChangesNothing) {
  const EngineOptions options = options_of({Kind::DualPipe, 2, 1, 1, 4});
  on_every_rank(options, [](Engine& engine) -> Expected<void> {
    // The same batch twice: the first is refused as a spike, so the second is the first again.
    WEFT_TRY_ASSIGN(const TrainResult spike, train(engine, 0, {.loss = 1e-3, .grad_norm = 1e9}));
    EXPECT_FALSE(spike.applied);
    EXPECT_EQ(spike.tries, 3) << "the third on the ranks of the other direction";
    EXPECT_FALSE(spike.corruption) << spike.corruption->text;
    WEFT_TRY_ASSIGN(const TrainResult result, train(engine, 0));
    EXPECT_TRUE(result.applied);
    EXPECT_EQ(result.loss, spike.loss);
    EXPECT_EQ(result.grad_norm, spike.grad_norm);
    return {};
  });
}

TEST(EngineReplay, WhatARankComputesWrongEachTimeIsFoundByTheOtherDirectionsRanks) {
  const EngineOptions options = options_of({Kind::DualPipe, 4, 1, 1, 8});
  on_every_rank(options, [](Engine& engine) -> Expected<void> {
    if (engine.rank() == 1)
      engine.watch_outputs([](int, Pass pass, const Chunk&, std::span<trainer::Real> output) {
        if (pass == Pass::Forward) output[3] *= 1e30f;
      });
    const auto batch = random_batch(11, 0, 16, engine.num_micro_batches(), 64);
    WEFT_TRY_ASSIGN(const TrainResult result,
                    engine.train(batch, 3e-3, 1, false, {.loss = 0, .grad_norm = 1e9}));
    EXPECT_FALSE(result.applied);
    EXPECT_TRUE(result.corruption);
    if (result.corruption) {
      // Ranks 1 and 2 hold the same stages: one of them.
      EXPECT_EQ(result.corruption->ranks, (std::vector{1, 2})) << result.corruption->text;
    }
    return {};
  });
}

TEST(EngineReplay, WithoutHashesAReplayThatDiffersIsFoundAllTheSame) {
  EngineOptions options = options_of({Kind::OneFOneB, 2, 1, 1, 4});
  options.output_hashes = false;
  const Trial flipped = run(options, {.rank = 0, .nth = 1, .nan = true}, kLimits);
  ASSERT_EQ(flipped.results.size(), 3u);
  EXPECT_TRUE(flipped.results[1].corruption);
  EXPECT_EQ(flipped.losses, run(options, {}).losses);
}

}  // namespace
}  // namespace weft::runtime

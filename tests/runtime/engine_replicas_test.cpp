// Redundant experts in rollout: every bit as without them, fewer tokens on the busiest rank.
#include <gtest/gtest.h>

#include <mutex>

#include "runtime/worker/engine.h"
#include "tests/runtime/engine_world.h"

namespace weft::runtime {
namespace {

using dualpipe::Kind;

struct Outcome {
  std::vector<Completion> completions;  // of all rollouts
  std::vector<RolloutLoad> loads;       // rank 0's
  std::vector<double> losses;
  std::size_t bytes_during = 0, bytes_after = 0;
  bool operator==(const Outcome&) const = delete;
};

/// A router that likes the experts of the first rank: their selection bias says so.
void skew_router(Engine& engine) {
  engine.each_stage([](trainer::StageModel& model) {
    trainer::ParameterSet& set = model.parameters();
    for (std::size_t i = 0; i < set.items().size(); ++i) {
      if (!set.items()[i].name.ends_with("e_score_correction_bias")) continue;
      set.value(static_cast<int>(i))[0] = 0.5f;
      set.value(static_cast<int>(i))[1] = 0.5f;
    }
    set.touch();
  });
}

Outcome run(const scheduler::Layout& layout, int redundant, bool skew = false,
            trainer::Precision precision = trainer::Precision::F32) {
  EngineOptions options;
  options.layout = layout;
  options.model = tiny_model(4);
  options.model.n_group = options.model.topk_group = 1;
  options.max_tokens = 512;
  options.redundant_experts = redundant;
  options.precision = precision;
  options.wait_bound = std::chrono::seconds(60);
  Outcome outcome;
  std::mutex mutex;
  on_every_rank(options, [&](Engine& engine) -> Expected<void> {
    if (skew) skew_router(engine);
    Outcome mine;
    const auto roll = [&](int step) -> Expected<void> {
      std::vector<std::vector<std::int32_t>> prompts;
      for (int i = 0; i < 13; ++i) {
        Rng rng(5, "prompt", i);
        auto& prompt = prompts.emplace_back(1 + rng.below(9));
        for (auto& token : prompt) token = static_cast<std::int32_t>(rng.below(64));
      }
      GenerateOptions generate;
      generate.max_new_tokens = 8;
      generate.end_token = 7;
      generate.step = static_cast<std::uint64_t>(step);
      WEFT_TRY_ASSIGN(auto done, engine.generate(prompts, generate));
      mine.completions.insert(mine.completions.end(), done.begin(), done.end());
      mine.loads.push_back(engine.rollout_load());
      return {};
    };
    // A rollout without known loads, one with them, a step of training, and two more rollouts.
    WEFT_TRY(roll(0));
    WEFT_TRY(roll(1));
    mine.bytes_during = engine.memory_bytes().replicas;
    const auto batch = random_batch(11, 0, 16, engine.num_micro_batches(), 64);
    WEFT_TRY_ASSIGN(const TrainResult result, engine.train(batch, 3e-3, 1, false));
    mine.losses.push_back(result.loss);
    mine.bytes_after = engine.memory_bytes().replicas;
    WEFT_TRY(roll(2));
    WEFT_TRY(roll(3));
    if (engine.rank() != 0) return {};
    const std::scoped_lock lock(mutex);
    outcome.completions = std::move(mine.completions);
    outcome.loads = std::move(mine.loads);
    outcome.losses = std::move(mine.losses);
    outcome.bytes_during = mine.bytes_during;
    outcome.bytes_after = mine.bytes_after;
    return {};
  });
  return outcome;
}

void expect_the_same_bits(const Outcome& a, const Outcome& b, const std::string& what) {
  ASSERT_EQ(a.completions.size(), b.completions.size()) << what;
  for (std::size_t i = 0; i < a.completions.size(); ++i) {
    EXPECT_EQ(a.completions[i].tokens, b.completions[i].tokens) << what << ", completion " << i;
    EXPECT_EQ(a.completions[i].logprobs, b.completions[i].logprobs) << what << ", completion " << i;
  }
  EXPECT_EQ(a.losses, b.losses) << what;
}

TEST(EngineReplicas, DoNotChangeABitInAnyLayout) {
  for (const scheduler::Layout& layout : {scheduler::Layout{Kind::OneFOneB, 1, 1, 1, 2},
                                          scheduler::Layout{Kind::OneFOneB, 1, 2, 2, 2},
                                          scheduler::Layout{Kind::OneFOneB, 1, 4, 4, 1},
                                          scheduler::Layout{Kind::OneFOneB, 1, 4, 2, 1},
                                          scheduler::Layout{Kind::DualPipe, 2, 2, 2, 4}}) {
    const Outcome plain = run(layout, 0, true);
    for (const int redundant : {1, 2}) {
      const Outcome other = run(layout, redundant, true);
      expect_the_same_bits(plain, other,
                           "experts over " + std::to_string(layout.expert) + ", " +
                               std::to_string(redundant) + " redundant");
      EXPECT_EQ(other.loads[0].replicas, 0) << "nothing is known yet";
      if (layout.expert > 1) {
        EXPECT_GT(other.loads[1].replicas, 0);
      }
    }
  }
}

TEST(EngineReplicas, DoNotChangeABitInBf16) {
  const scheduler::Layout layout{Kind::OneFOneB, 1, 4, 4, 1};
  if (!trainer::check_precision(trainer::Precision::BF16)) GTEST_SKIP() << "no BF16 products here";
  expect_the_same_bits(run(layout, 0, true, trainer::Precision::BF16),
                       run(layout, 2, true, trainer::Precision::BF16), "bf16");
}

TEST(EngineReplicas, EvenOutASkewedRouterAndAreCopiedOnlyWhenSomethingChanged) {
  const Outcome outcome = run({Kind::OneFOneB, 1, 4, 4, 1}, 2, true);
  const RolloutLoad& second = outcome.loads[1];
  EXPECT_GT(second.home, 2.5) << "both experts of every token are on rank 0";
  EXPECT_LT(second.served, 0.6 * second.home);
  EXPECT_EQ(second.copied, second.replicas) << "the first time all of them";
  EXPECT_EQ(outcome.loads[2].copied, outcome.loads[2].replicas) << "the step changed every weight";
  EXPECT_LT(outcome.loads[3].copied, outcome.loads[3].replicas) << "and nothing since";
  EXPECT_GT(second.copied_bytes, 0);
}

TEST(EngineReplicas, TakeMemoryFromTheRolloutToTheNextStep) {
  const Outcome outcome = run({Kind::OneFOneB, 1, 2, 2, 2}, 1, true);
  // Three MoE layers, one expert of three matrices 32 x 16 each.
  EXPECT_EQ(outcome.bytes_during, 3u * 3 * 32 * 16 * sizeof(float));
  EXPECT_EQ(outcome.bytes_after, 0u);
  EXPECT_EQ(run({Kind::OneFOneB, 1, 2, 2, 2}, 0, true).bytes_during, 0u);
}

}  // namespace
}  // namespace weft::runtime

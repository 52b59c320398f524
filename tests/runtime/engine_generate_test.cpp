#include <gtest/gtest.h>

#include <mutex>

#include "runtime/worker/engine.h"
#include "tests/runtime/engine_world.h"

namespace weft::runtime {
namespace {

using dualpipe::Kind;

std::vector<std::vector<std::int32_t>> prompts(int count) {
  std::vector<std::vector<std::int32_t>> result;
  for (int i = 0; i < count; ++i) {
    Rng rng(5, "prompt", i);
    auto& prompt = result.emplace_back(1 + rng.below(9));
    for (auto& token : prompt) token = static_cast<std::int32_t>(rng.below(64));
  }
  return result;
}

std::vector<Completion> generate(const scheduler::Layout& layout, double temperature) {
  EngineOptions options;
  options.layout = layout;
  options.model = tiny_model(4);
  options.max_tokens = 512;
  options.wait_bound = std::chrono::seconds(20);
  std::vector<Completion> completions;
  std::mutex mutex;
  on_every_rank(options, [&](Engine& engine) -> Expected<void> {
    GenerateOptions generate;
    generate.max_new_tokens = 20;
    generate.temperature = temperature;
    generate.end_token = 7;
    WEFT_TRY_ASSIGN(auto mine, engine.generate(prompts(13), generate));
    const std::scoped_lock lock(mutex);
    completions = std::move(mine);
    return {};
  });
  return completions;
}

TEST(EngineGenerate, EndsAtTheEndTokenOrAtTheLimit) {
  for (const Completion& completion : generate({Kind::OneFOneB, 1, 1, 1, 1}, 1.0)) {
    ASSERT_FALSE(completion.tokens.empty());
    ASSERT_EQ(completion.tokens.size(), completion.logprobs.size());
    EXPECT_EQ(completion.finished, completion.tokens.back() == 7);
    EXPECT_EQ(std::count(completion.tokens.begin(), completion.tokens.end(), 7),
              completion.finished);
    if (!completion.finished) {
      EXPECT_EQ(completion.tokens.size(), 20u);
    }
    for (const float logprob : completion.logprobs) EXPECT_LE(logprob, 0.0f);
  }
}

TEST(EngineGenerate, DrawsTheSameTokensInEveryLayout) {
  const auto plain = generate({Kind::OneFOneB, 1, 1, 1, 1}, 1.0);
  for (const scheduler::Layout& layout : {scheduler::Layout{Kind::DualPipe, 2, 2, 2, 4},
                                          scheduler::Layout{Kind::OneFOneB, 4, 1, 1, 4},
                                          scheduler::Layout{Kind::DualPipe, 4, 1, 1, 8},
                                          scheduler::Layout{Kind::OneFOneB, 1, 4, 4, 1},
                                          scheduler::Layout{Kind::DualPipeV, 2, 1, 1, 4},
                                          scheduler::Layout{Kind::Interleaved, 2, 1, 1, 4}}) {
    const auto other = generate(layout, 1.0);
    ASSERT_EQ(other.size(), plain.size());
    for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_EQ(other[i].tokens, plain[i].tokens) << i;
  }
}

// What rollout drew with is what a training pass would compute for the same tokens.
TEST(EngineGenerate, SampledLogProbabilitiesAgreeWithAForwardPass) {
  EngineOptions options;
  options.layout = {Kind::DualPipe, 2, 2, 2, 4};
  options.model = tiny_model(4);
  options.max_tokens = 512;
  options.wait_bound = std::chrono::seconds(20);
  on_every_rank(options, [&](Engine& engine) -> Expected<void> {
    GenerateOptions generate;
    generate.max_new_tokens = 12;
    const auto given = prompts(16);
    WEFT_TRY_ASSIGN(const auto completions, engine.generate(given, generate));
    std::vector<trainer::MicroBatch> batch(engine.num_micro_batches());
    for (int s = 0; s < 16; ++s) {
      trainer::MicroBatch& part = batch[s % batch.size()];
      part.mode = trainer::Mode::Score;
      if (part.sequence_begin.empty()) part.sequence_begin = {0};
      std::vector<std::int32_t> tokens = given[s];
      tokens.insert(tokens.end(), completions[s].tokens.begin(), completions[s].tokens.end());
      for (std::size_t t = 0; t + 1 < tokens.size(); ++t) {
        part.tokens.push_back(tokens[t]);
        part.positions.push_back(static_cast<int>(t));
        part.targets.push_back(tokens[t + 1]);
        part.weight.push_back(1.0f);
      }
      part.sequence_begin.push_back(part.num_tokens());
      part.sequence_id.push_back(s);
    }
    WEFT_TRY_ASSIGN(const Engine::Scores scores, engine.score(batch));
    for (int s = 0; s < 16; ++s)
      for (std::size_t t = 0; t < completions[s].tokens.size(); ++t)
        // Absorbed attention sums in another order: a few float roundings of values near 4.
        EXPECT_NEAR(scores.logprobs[s][given[s].size() - 1 + t], completions[s].logprobs[t], 2e-5);
    return {};
  });
}

TEST(EngineGenerate, RefusesWhatDoesNotFit) {
  EngineOptions options;
  options.model = tiny_model(2);
  on_every_rank(options, [&](Engine& engine) -> Expected<void> {
    const std::vector<std::vector<std::int32_t>> empty = {{}}, foreign = {{64}},
                                                 long_one = {std::vector<std::int32_t>(60, 1)};
    EXPECT_FALSE(engine.generate(empty, {}));
    EXPECT_FALSE(engine.generate(foreign, {.max_new_tokens = 4}));
    EXPECT_FALSE(engine.generate(long_one, {.max_new_tokens = 5}));
    return {};
  });
}

}  // namespace
}  // namespace weft::runtime

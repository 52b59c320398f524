#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/rng.h"
#include "trainer/data/pack.h"

namespace weft::trainer::data {
namespace {

/// Sequences of 1 + 1..5 prompt and 0..12 completion tokens, every token value unique.
std::vector<Example> random_examples(int count, std::uint64_t seed) {
  Rng rng(seed, "pack test");
  std::vector<Example> examples;
  std::int32_t next = 0;
  for (int i = 0; i < count; ++i) {
    Example example;
    example.prompt_length = 2 + static_cast<int>(rng.below(5));
    const int length = example.prompt_length + static_cast<int>(rng.below(13));
    for (int t = 0; t < length; ++t) example.tokens.push_back(next++);
    examples.push_back(std::move(example));
  }
  examples[0].tokens.push_back(next++);  // at least one token with loss
  return examples;
}

int loss_tokens(std::span<const Example> examples) {
  int count = 0;
  for (const Example& e : examples) count += e.completion_length();
  return count;
}

void expect_consistent(const MicroBatch& batch) {
  const auto n = batch.tokens.size();
  EXPECT_EQ(batch.positions.size(), n);
  EXPECT_EQ(batch.targets.size(), n);
  EXPECT_EQ(batch.weight.size(), n);
  ASSERT_FALSE(batch.sequence_begin.empty());
  EXPECT_EQ(batch.sequence_begin.front(), 0);
  EXPECT_EQ(batch.sequence_begin.back(), batch.num_tokens());
  EXPECT_EQ(static_cast<int>(batch.sequence_id.size()), batch.num_sequences());
  EXPECT_TRUE(std::is_sorted(batch.sequence_id.begin(), batch.sequence_id.end()));
}

// What each sequence became, read back from the micro-batches.
TEST(PackSupervised, EverySequenceIsThereOnceWithItsTargets) {
  for (int count = 1; count <= 24; ++count) {
    const auto examples = random_examples(count, static_cast<std::uint64_t>(count));
    const float weight = static_cast<float>(1.0 / loss_tokens(examples));
    for (int parts = 1; parts <= count; ++parts) {
      const auto batches = pack_supervised(examples, parts);
      ASSERT_TRUE(batches) << batches.error().message;
      ASSERT_EQ(static_cast<int>(batches->size()), parts);
      std::set<int> seen;
      for (const MicroBatch& batch : *batches) {
        expect_consistent(batch);
        EXPECT_GT(batch.num_sequences(), 0);
        EXPECT_EQ(batch.mode, Mode::Train);
        for (int s = 0; s < batch.num_sequences(); ++s) {
          const int id = batch.sequence_id[static_cast<std::size_t>(s)];
          EXPECT_TRUE(seen.insert(id).second);
          const Example& example = examples[static_cast<std::size_t>(id)];
          const int begin = batch.sequence_begin[static_cast<std::size_t>(s)];
          const int end = batch.sequence_begin[static_cast<std::size_t>(s) + 1];
          ASSERT_EQ(end - begin, static_cast<int>(example.tokens.size()) - 1);
          for (int t = 0; t < end - begin; ++t) {
            const auto at = static_cast<std::size_t>(begin + t), in = static_cast<std::size_t>(t);
            EXPECT_EQ(batch.tokens[at], example.tokens[in]);
            EXPECT_EQ(batch.positions[at], t);
            const bool has_loss = t + 1 >= example.prompt_length;
            EXPECT_EQ(batch.targets[at], has_loss ? example.tokens[in + 1] : -1);
            EXPECT_EQ(batch.weight[at], has_loss ? weight : 0.0f);
          }
        }
      }
      EXPECT_EQ(static_cast<int>(seen.size()), count);
    }
  }
}

TEST(PackSupervised, MicroBatchesDifferByAtMostTheLongestSequence) {
  const auto examples = random_examples(64, 7);
  int longest = 0;
  for (const Example& e : examples)
    longest = std::max(longest, static_cast<int>(e.tokens.size()) - 1);
  for (const int parts : {2, 4, 8, 16}) {
    const auto batches = *pack_supervised(examples, parts);
    int least = std::numeric_limits<int>::max();
    for (const MicroBatch& batch : batches) least = std::min(least, batch.num_tokens());
    EXPECT_LE(max_tokens(batches) - least, longest);
  }
}

TEST(PackSupervised, RefusesWhatCannotFillTheStep) {
  const auto examples = random_examples(3, 1);
  EXPECT_EQ(pack_supervised(examples, 4).error().code, Code::InvalidArgument);
  EXPECT_EQ(pack_supervised(examples, 0).error().code, Code::InvalidArgument);
  EXPECT_FALSE(pack_supervised({}, 1));
  const std::vector<Example> no_loss = {{.tokens = {1, 2, 3}, .prompt_length = 3}};
  EXPECT_FALSE(pack_supervised(no_loss, 1));
  const std::vector<Example> no_prompt = {{.tokens = {1, 2, 3}, .prompt_length = 0}};
  EXPECT_FALSE(pack_supervised(no_prompt, 1));
  const std::vector<Example> one_token = {{.tokens = {1}, .prompt_length = 1}};
  EXPECT_FALSE(pack_supervised(one_token, 1));
  const std::vector<Example> beyond = {{.tokens = {1, 2}, .prompt_length = 3}};
  EXPECT_FALSE(pack_supervised(beyond, 1));
}

TEST(PackScore, IsTheSameForwardOnly) {
  const auto examples = random_examples(9, 3);
  const auto train = *pack_supervised(examples, 4), score = *pack_score(examples, 4);
  for (std::size_t i = 0; i < train.size(); ++i) {
    EXPECT_EQ(score[i].mode, Mode::Score);
    EXPECT_EQ(score[i].tokens, train[i].tokens);
    EXPECT_EQ(score[i].targets, train[i].targets);
    EXPECT_EQ(score[i].weight, train[i].weight);
  }
}

TEST(PackWindows, EveryTokenButTheFirstIsPredicted) {
  const std::vector<std::vector<std::int32_t>> windows = {{1, 2, 3, 4}, {5, 6}};
  const auto batches = *pack_windows(windows, 1, Mode::Score);
  EXPECT_EQ(batches[0].mode, Mode::Score);
  EXPECT_EQ(batches[0].tokens, (std::vector<std::int32_t>{1, 2, 3, 5}));
  EXPECT_EQ(batches[0].targets, (std::vector<std::int32_t>{2, 3, 4, 6}));
  EXPECT_EQ(batches[0].positions, (std::vector<std::int32_t>{0, 1, 2, 0}));
  EXPECT_EQ(batches[0].weight, (std::vector<float>(4, 0.25f)));
}

TEST(PackGrpo, CarriesAdvantagesWeightsAndLogprobsToTheirTokens) {
  std::vector<GrpoSequence> sequences(2);
  GrpoSequence &a = sequences[0], &b = sequences[1];
  a.example = {.tokens = {1, 2, 3, 4, 5}, .prompt_length = 3};
  a.advantage = 1.5f;
  a.weight = 0.25f;
  a.old_logprob = {-1.0f, -2.0f};
  a.ref_logprob = {-3.0f, -4.0f};
  b.example = {.tokens = {6, 7}, .prompt_length = 1};
  b.advantage = -0.5f;
  b.weight = 0.5f;
  b.ref_logprob = {-5.0f};
  const rl::GrpoOptions options{.epsilon = 0.1, .epsilon_high = 0.3, .beta = 0.01};
  const auto batches = pack_grpo(sequences, 1, options);
  ASSERT_TRUE(batches) << batches.error().message;
  const MicroBatch& batch = (*batches)[0];
  expect_consistent(batch);
  EXPECT_EQ(batch.loss, LossKind::Grpo);
  EXPECT_EQ(batch.targets, (std::vector<std::int32_t>{-1, -1, 4, 5, 7}));
  EXPECT_EQ(batch.weight, (std::vector<float>{0, 0, 0.25f, 0.25f, 0.5f}));
  EXPECT_EQ(batch.advantage, (std::vector<float>{1.5f, 1.5f, 1.5f, 1.5f, -0.5f}));
  EXPECT_EQ(batch.ref_logprob, (std::vector<float>{0, 0, -3, -4, -5}));
  EXPECT_EQ(batch.old_logprob[2], -1.0f);
  EXPECT_EQ(batch.old_logprob[3], -2.0f);
  EXPECT_TRUE(std::isnan(batch.old_logprob[4]));
  EXPECT_EQ(batch.grpo.epsilon_high, 0.3);
}

TEST(PackGrpo, RefusesLogprobsOfAnotherLength) {
  const GrpoSequence good{.example = {.tokens = {1, 2, 3}, .prompt_length = 1},
                          .weight = 1,
                          .old_logprob = {},
                          .ref_logprob = {}};
  EXPECT_TRUE(pack_grpo(std::vector{good}, 1, {.beta = 0}));
  EXPECT_FALSE(pack_grpo(std::vector{good}, 1, {.beta = 0.1}));  // the reference is missing
  GrpoSequence bad = good;
  bad.old_logprob = {-1};
  EXPECT_EQ(pack_grpo(std::vector{bad}, 1, {}).error().code, Code::InvalidArgument);
}

// However a step is cut: the weights of all its tokens add up to the same.
TEST(PackGrpo, WeightsDoNotDependOnTheMicroBatches) {
  const auto examples = random_examples(32, 11);
  std::vector<int> lengths;
  for (const Example& e : examples) lengths.push_back(e.completion_length());
  for (const auto type : {rl::LossType::Grpo, rl::LossType::Dapo, rl::LossType::DrGrpo}) {
    const auto weights = rl::token_weights(type, lengths, 12);
    std::vector<GrpoSequence> sequences;
    for (std::size_t i = 0; i < examples.size(); ++i)
      sequences.push_back({.example = examples[i],
                           .advantage = 1,
                           .weight = weights[i],
                           .old_logprob = {},
                           .ref_logprob = {}});
    std::multiset<float> whole;
    for (const int parts : {1, 2, 8, 32}) {
      std::multiset<float> all;
      const auto batches = *pack_grpo(sequences, parts, {});
      for (const MicroBatch& batch : batches) all.insert(batch.weight.begin(), batch.weight.end());
      if (parts == 1) whole = all;
      EXPECT_EQ(all, whole);
    }
  }
}

}  // namespace
}  // namespace weft::trainer::data

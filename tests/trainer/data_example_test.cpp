#include <gtest/gtest.h>

#include <cmath>

#include "trainer/data/example.h"
#include "trainer/rl/reward.h"

namespace weft::trainer::data {
namespace {

const Tokenizer kTokenizer = *Tokenizer::byte_level(99);

std::string completion_of(const Example& example) {
  const auto tokens = std::span(example.tokens);
  return kTokenizer.decode(
      tokens.subspan(static_cast<std::size_t>(example.prompt_length),
                     static_cast<std::size_t>(example.completion_length() - 1)));
}

TEST(Example, IsBosPromptCompletionEos) {
  const Example example = make_example(kTokenizer, "3+8=", "<think>3 11</think>");
  EXPECT_EQ(example.prompt_length, 5);
  EXPECT_EQ(example.completion_length(), 6);
  EXPECT_EQ(kTokenizer.decode(example.tokens),
            "<｜begin▁of▁sentence｜>3+8=<think>3 11</think><｜end▁of▁sentence｜>");
}

// A rollout never sees the two joined: neither may training.
TEST(Example, NoTokenSpansPromptAndCompletion) {
  const Example example = make_example(kTokenizer, "1", "2");
  EXPECT_EQ(example.tokens,
            (std::vector<std::int32_t>{256, 262 + 1, 262 + 2, 257}));
}

TEST(Mixture, RefusesSharesThatAreNone) {
  EXPECT_TRUE(check(Mixture{}));
  EXPECT_TRUE(check({.blind = 0.3, .complete = 0.7, .broken_format = 1}));
  EXPECT_FALSE(check({.blind = -0.1, .complete = 0, .broken_format = 0}));
  EXPECT_FALSE(check({.blind = 0.6, .complete = 0.5, .broken_format = 0}));
  EXPECT_FALSE(check({.blind = 0, .complete = 0, .broken_format = 1.5}));
  EXPECT_FALSE(check({.blind = 0, .complete = std::nan(""), .broken_format = 0}));
}

class EveryTask : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Task> task_ = std::move(*make_task(GetParam(), 2, 6));
};

INSTANTIATE_TEST_SUITE_P(Tasks, EveryTask, testing::Values("arithmetic", "cups"),
                         [](const auto& parameter) { return parameter.param; });

TEST_P(EveryTask, PretrainingIsCompleteWellFormedAndOnTheTrainingSide) {
  for (std::uint64_t i = 0; i < 200; ++i) {
    const Example example = pretrain_example(*task_, kTokenizer, 1, 2, i);
    EXPECT_EQ(example, pretrain_example(*task_, kTokenizer, 1, 2, i));
    EXPECT_EQ(rl::format_think_answer(completion_of(example)), 1.0);
    const std::string prompt = kTokenizer.decode(
        std::span(example.tokens).subspan(1, static_cast<std::size_t>(example.prompt_length) - 1));
    EXPECT_EQ(split_of(prompt), Split::Train) << prompt;
  }
}

TEST_P(EveryTask, AnExampleDependsOnEveryPartOfItsKey) {
  const Example a = pretrain_example(*task_, kTokenizer, 1, 2, 3);
  EXPECT_NE(a, pretrain_example(*task_, kTokenizer, 2, 2, 3));
  EXPECT_NE(a, pretrain_example(*task_, kTokenizer, 1, 3, 3));
  EXPECT_NE(a, pretrain_example(*task_, kTokenizer, 1, 2, 4));
}

TEST_P(EveryTask, TheColdStartKeepsItsShares) {
  constexpr int kExamples = 4000;
  int well_formed = 0, thinking = 0;
  for (int i = 0; i < kExamples; ++i) {
    const Mixture mixture{.blind = 0.3, .complete = 0.25, .broken_format = 0.4};
    const std::string text = completion_of(
        cold_start_example(*task_, kTokenizer, mixture, 1, 0, static_cast<std::uint64_t>(i)));
    well_formed += rl::format_think_answer(text) == 1.0;
    thinking += text.find_first_of(" ,") != std::string::npos;
  }
  // Well-formed: not broken, and of the blind guesses the half that has think tags.
  EXPECT_NEAR(well_formed, kExamples * 0.6 * (1 - 0.15), kExamples * 0.04);
  EXPECT_LT(thinking, kExamples * 0.7);
}

TEST_P(EveryTask, ExtremeMixturesAreWhatTheySay) {
  for (std::uint64_t i = 0; i < 100; ++i) {
    const auto text = [&](const Mixture& mixture) {
      return completion_of(cold_start_example(*task_, kTokenizer, mixture, 1, 1, i));
    };
    const std::string blind = text({.blind = 1, .complete = 0, .broken_format = 0});
    EXPECT_TRUE(blind.starts_with("<answer>") || blind.starts_with("<think></think>")) << blind;
    EXPECT_EQ(rl::format_think_answer(text({.blind = 0, .complete = 1, .broken_format = 0})), 1.0);
    EXPECT_EQ(rl::format_think_answer(text({.blind = 0, .complete = 1, .broken_format = 1})), 0.0);
  }
}

}  // namespace
}  // namespace weft::trainer::data

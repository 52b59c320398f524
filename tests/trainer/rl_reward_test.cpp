#include <gtest/gtest.h>

#include <limits>

#include "base/rng.h"
#include "trainer/rl/reward.h"

namespace weft::trainer::rl {
namespace {

TEST(ExtractAnswer, TakesTheLastWellFormedAnswerAfterThinking) {
  const auto found = [](std::string_view text) { return extract_answer(text).value_or("none"); };
  EXPECT_EQ(found("<think>3 11</think><answer>11</answer>"), "11");
  EXPECT_EQ(found("<think>3</think>\n<answer> 11\t</answer>\n"), "11");
  EXPECT_EQ(found("<answer>11</answer>"), "11");
  EXPECT_EQ(found("3 11</think><answer>11</answer>"), "11");
  EXPECT_EQ(found("<think>a</think><answer>1</answer><answer>2</answer>"), "2");
  EXPECT_EQ(found("<think>a</think><answer>1</answer><answer>2"), "1");
  EXPECT_EQ(found("<answer><answer>2</answer></answer>"), "2");
  EXPECT_EQ(found("<answer></answer>"), "");
}

TEST(ExtractAnswer, FindsNothingWhereNothingWasAnswered) {
  for (const std::string_view text :
       {"", "11", "<think>11", "<think>11</think>", "<think>11</think>11", "<answer>11",
        "11</answer>", "</answer>11<answer>", "<think><answer>11</answer>",
        "<think><answer>11</answer></think>", "<think>a</think><think><answer>11</answer>",
        "<answer>11</answer><think>", "<answer>11</answer></think>",
        "<answer>1<think></think>1</answer>", "< answer>11</answer>", "<ANSWER>11</ANSWER>"})
    EXPECT_EQ(extract_answer(text), std::nullopt) << text;
}

TEST(AccuracyAnswer, IsExact) {
  EXPECT_EQ(accuracy_answer("<answer> 11 </answer>", "11"), 1.0);
  EXPECT_EQ(accuracy_answer("<answer>11</answer>", " 11\n"), 1.0);
  for (const std::string_view answer : {"011", "11.", "+11", "1 1", "11 12", "110", "1", ""})
    EXPECT_EQ(accuracy_answer("<answer>" + std::string(answer) + "</answer>", "11"), 0.0) << answer;
}

// Exploits that a policy finds when it can: listing answers, answering inside the thought, nesting.
TEST(AccuracyAnswer, IsNotEarnedByTricks) {
  for (const std::string_view text :
       {"<answer>11</answer><answer>12</answer>", "<think><answer>11</answer>",
        "<think><answer>11</answer></think><answer>12</answer>", "<answer>10 11 12</answer>",
        "<answer>11</answer><think>", "<answer>11<answer>12</answer>",
        "<answer>11<think></answer>"})
    EXPECT_EQ(accuracy_answer(text, "11"), 0.0) << text;
  EXPECT_EQ(accuracy_answer("<answer></answer>", ""), 0.0);
  EXPECT_EQ(accuracy_answer("", ""), 0.0);
}

TEST(FormatThinkAnswer, IsTheWholeCompletion) {
  EXPECT_EQ(format_think_answer("<think>3 11</think><answer>11</answer>"), 1.0);
  EXPECT_EQ(format_think_answer(" <think>\n3\n</think>\n<answer>\n11\n</answer>\n"), 1.0);
  EXPECT_EQ(format_think_answer("<think></think><answer></answer>"), 1.0);
  for (const std::string_view text :
       {"", "<think></think>", "<answer></answer>", "x<think></think><answer></answer>",
        "<think></think>x<answer></answer>", "<think></think><answer></answer>x",
        "<think><think></think><answer></answer>", "<think></think></think><answer></answer>",
        "<think></think><answer></answer><answer></answer>", "<answer></answer><think></think>",
        "<think><answer></think></answer>", "<think><answer></answer></think>",
        "<think></think><answer></answer", "<think></think><answer><answer></answer></answer>",
        "<think></think><answer></answer><think></think><answer></answer>"})
    EXPECT_EQ(format_think_answer(text), 0.0) << text;
}

TEST(Rewards, AddUpWithTheirWeights) {
  const std::vector<WeightedReward> items = {{"accuracy.answer", 1.0},
                                             {"format.think_answer", 0.2}};
  const auto rewards = Rewards::make(items);
  ASSERT_TRUE(rewards);
  const Score both = rewards->score("<think>3 11</think><answer>11</answer>", "11");
  EXPECT_DOUBLE_EQ(both.total, 1.2);
  EXPECT_EQ(both.extracted, "11");
  ASSERT_EQ(both.components.size(), 2u);
  EXPECT_EQ(both.components[0], (std::pair<std::string, double>{"accuracy.answer", 1.0}));
  EXPECT_EQ(both.components[1], (std::pair<std::string, double>{"format.think_answer", 1.0}));
  const Score wrong = rewards->score("<think></think><answer>12</answer>", "11");
  EXPECT_DOUBLE_EQ(wrong.total, 0.2);
  EXPECT_EQ(wrong.extracted, "12");
  EXPECT_DOUBLE_EQ(rewards->score("<answer>11</answer>", "11").total, 1.0);
  EXPECT_DOUBLE_EQ(rewards->score("", "11").total, 0.0);
}

TEST(Rewards, AnUnknownNameIsAnsweredWithTheKnownOnes) {
  const auto rewards = Rewards::make(std::vector<WeightedReward>{{"accuracy.anwser", 1.0}});
  ASSERT_FALSE(rewards);
  EXPECT_EQ(rewards.error().code, Code::InvalidArgument);
  for (const char* part :
       {"'accuracy.anwser'", "did you mean 'accuracy.answer'", "format.think_answer"})
    EXPECT_NE(rewards.error().message.find(part), std::string::npos) << rewards.error().message;
}

TEST(Rewards, RefuseWhatCannotBeMeant) {
  EXPECT_FALSE(Rewards::make({}));
  EXPECT_FALSE(Rewards::make(
      std::vector<WeightedReward>{{"accuracy.answer", 1.0}, {"accuracy.answer", 0.5}}));
  EXPECT_FALSE(Rewards::make(
      std::vector<WeightedReward>{{"accuracy.answer", std::numeric_limits<double>::quiet_NaN()}}));
}

// Any bytes: no crash, values in range, and a passed format always has an extractable answer.
TEST(Rewards, SurviveAnyBytes) {
  const std::vector<std::string> pieces = {"<think>", "</think>", "<answer>", "</answer>",
                                           "1",       "11",       " ",        "<",
                                           "</",      "think>",   "\n",       std::string(1, '\0')};
  int well_formed = 0, correct = 0;
  for (std::uint64_t round = 0; round < 20000; ++round) {
    Rng rng(1, "fuzz", round);
    // Noise alone, or a good completion with noise in it.
    std::string text = rng.below(2) == 0 ? "" : "<think>1 11</think><answer>11</answer>";
    for (std::uint32_t i = rng.below(10); i > 0; --i) {
      const auto at = rng.below(static_cast<std::uint32_t>(text.size()) + 1);
      if (rng.below(8) == 0)
        text.insert(at, 1, static_cast<char>(rng.below(256)));
      else
        text.insert(at, pieces[rng.below(static_cast<std::uint32_t>(pieces.size()))]);
    }
    const double format = format_think_answer(text), accuracy = accuracy_answer(text, "11");
    well_formed += format == 1.0;
    correct += accuracy == 1.0;
    if (format == 1.0) {
      EXPECT_TRUE(extract_answer(text)) << text;
    }
    if (accuracy == 1.0) {
      EXPECT_NE(text.find("</answer>"), std::string::npos) << text;
    }
  }
  EXPECT_GT(well_formed, 0);
  EXPECT_GT(correct, 0);
}

TEST(Rewards, ALongCompletionCostsOnePass) {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += i % 2 == 0 ? "<answer>" : "</think><";
  EXPECT_EQ(format_think_answer(text), 0.0);
  EXPECT_EQ(extract_answer(text), std::nullopt);
}

}  // namespace
}  // namespace weft::trainer::rl

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "trainer/data/task.h"
#include "trainer/rl/reward.h"

namespace weft::trainer::data {
namespace {

class EveryTask : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Task> task_ = std::move(*make_task(GetParam(), 2, 6));
  Tokenizer tokenizer_ = *Tokenizer::byte_level(99);
};

INSTANTIATE_TEST_SUITE_P(Tasks, EveryTask, testing::Values("arithmetic", "cups"),
                         [](const auto& parameter) { return parameter.param; });

TEST(MakeTask, AnUnknownNameIsAnsweredWithTheKnownOnes) {
  const auto task = make_task("arithmatic", 2, 6);
  ASSERT_FALSE(task);
  EXPECT_EQ(task.error().code, Code::InvalidArgument);
  EXPECT_NE(task.error().message.find("did you mean 'arithmetic'"), std::string::npos);
  EXPECT_NE(task.error().message.find("cups"), std::string::npos);
}

TEST(MakeTask, RefusesDifficultiesThatTheTaskDoesNotHave) {
  for (const std::string& name : task_names()) {
    EXPECT_FALSE(make_task(name, 1, 6));
    EXPECT_FALSE(make_task(name, 5, 4));
    EXPECT_FALSE(make_task(name, 2, 1000));
    EXPECT_FALSE(make_task(name, -3, 4));
    EXPECT_TRUE(make_task(name, 2, 2));
  }
}

TEST_P(EveryTask, ProblemsAreFunctionsOfTheirKey) {
  EXPECT_EQ(task_->problem(1, Split::Train, 5), task_->problem(1, Split::Train, 5));
  std::set<std::string> prompts;
  for (std::uint64_t i = 0; i < 50; ++i) prompts.insert(task_->problem(1, Split::Train, i).prompt);
  for (std::uint64_t i = 0; i < 50; ++i) prompts.insert(task_->problem(2, Split::Train, i).prompt);
  EXPECT_GT(prompts.size(), 80u);
}

TEST_P(EveryTask, NoHeldOutProblemIsEverTrainedOn) {
  std::set<std::string> train, held_out;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    train.insert(task_->problem(1, Split::Train, i).prompt);
    held_out.insert(task_->problem(2, Split::HeldOut, i).prompt);
  }
  for (const std::string& prompt : held_out) EXPECT_FALSE(train.contains(prompt)) << prompt;
  for (const std::string& prompt : held_out) EXPECT_EQ(split_of(prompt), Split::HeldOut);
}

TEST_P(EveryTask, BothSidesHaveProblemsAtEveryDifficulty) {
  for (int difficulty = 2; difficulty <= 6; ++difficulty) {
    for (const Split split : {Split::Train, Split::HeldOut}) {
      std::set<std::string> prompts;
      for (std::uint64_t i = 0; i < 200; ++i)
        prompts.insert(task_->problem(1, split, i, difficulty).prompt);
      EXPECT_GE(prompts.size(), 5u) << difficulty;
    }
  }
}

TEST_P(EveryTask, DifficultiesAreSpreadEvenly) {
  std::map<int, int> count;
  for (std::uint64_t i = 0; i < 5000; ++i) ++count[task_->problem(1, Split::Train, i).difficulty];
  ASSERT_EQ(count.size(), 5u);
  for (const auto& [difficulty, n] : count) EXPECT_NEAR(n, 1000, 150) << difficulty;
}

TEST_P(EveryTask, ACompleteDemonstrationEarnsEverything) {
  for (std::uint64_t i = 0; i < 200; ++i) {
    Rng rng(1, "test", i);
    const Problem problem = task_->problem(1, Split::Train, i);
    const std::string text = task_->demonstration(problem, Style::Complete, rng);
    EXPECT_EQ(rl::accuracy_answer(text, problem.answer), 1.0) << text;
    EXPECT_EQ(rl::format_think_answer(text), 1.0) << text;
    EXPECT_EQ(problem.steps.size(), static_cast<std::size_t>(problem.difficulty));
    EXPECT_TRUE(problem.steps.back().ends_with(problem.answer));
  }
}

// The best that no thought can do: chance, also for the guesses that a model would learn.
TEST_P(EveryTask, GuessingEarnsRarely) {
  for (const Style style : {Style::Blind, Style::EarlyStop}) {
    double earned = 0, same_as_first_step = 0;
    for (std::uint64_t i = 0; i < 3000; ++i) {
      Rng rng(1, "guess", i);
      const Problem problem = task_->problem(1, Split::Train, i);
      earned += rl::accuracy_answer(task_->demonstration(problem, style, rng), problem.answer);
      same_as_first_step += problem.prompt.substr(0, 1) == problem.answer;
    }
    EXPECT_LT(earned / 3000, 0.20);
    EXPECT_LT(same_as_first_step / 3000, 0.20);
  }
}

TEST_P(EveryTask, AnEarlyStopShowsAStrictPrefixOfTheRightSteps) {
  std::set<std::size_t> seen_lengths;
  for (std::uint64_t i = 0; i < 300; ++i) {
    Rng rng(1, "early", i);
    const Problem problem = task_->problem(1, Split::Train, i, 6);
    const std::string text = task_->demonstration(problem, Style::EarlyStop, rng);
    EXPECT_EQ(rl::format_think_answer(text), 1.0) << text;
    std::string shown = "<think>";
    std::size_t length = 0;
    while (!text.starts_with(shown + "</think>")) {
      ASSERT_LT(length, problem.steps.size() - 1) << text;
      if (length > 0) shown += task_->separator();
      shown += problem.steps[length++];
    }
    seen_lengths.insert(length);
  }
  EXPECT_EQ(seen_lengths, (std::set<std::size_t>{1, 2, 3, 4, 5}));
}

TEST_P(EveryTask, ABlindGuessShowsNoStep) {
  std::set<bool> with_tags;
  for (std::uint64_t i = 0; i < 50; ++i) {
    Rng rng(1, "blind", i);
    const std::string text =
        task_->demonstration(task_->problem(1, Split::Train, i), Style::Blind, rng);
    EXPECT_TRUE(text.starts_with("<think></think><answer>") || text.starts_with("<answer>"));
    with_tags.insert(text.starts_with("<think>"));
  }
  EXPECT_EQ(with_tags.size(), 2u);
}

TEST_P(EveryTask, ABrokenFormatNeverPasses) {
  std::set<std::string> ways;
  const Problem problem = task_->problem(1, Split::Train, 0);
  for (const Style style : {Style::Complete, Style::EarlyStop, Style::Blind}) {
    for (std::uint64_t i = 0; i < 200; ++i) {
      Rng rng(1, "broken", i);
      const std::string text = task_->demonstration(problem, style, rng);
      const std::string broken = break_format(text, rng);
      EXPECT_EQ(rl::format_think_answer(broken), 0.0) << broken;
      if (style == Style::Complete) ways.insert(broken);
    }
  }
  EXPECT_EQ(ways.size(), 7u);
}

TEST_P(EveryTask, TokenBoundsHoldAndAreReached) {
  int prompt = 0, trace = 0;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    Rng rng(1, "bounds", i);
    const Problem problem = task_->problem(1, Split::Train, i);
    const std::string text = task_->demonstration(problem, Style::Complete, rng);
    prompt = std::max(prompt, static_cast<int>(tokenizer_.encode(problem.prompt).size()) + 1);
    trace = std::max(trace, static_cast<int>(tokenizer_.encode(text).size()) + 1);
  }
  EXPECT_EQ(task_->max_prompt_tokens(tokenizer_), prompt);
  EXPECT_EQ(task_->max_trace_tokens(tokenizer_), trace);
}

TEST(Arithmetic, ItsTraceAddsOneTermAStepAndNoTermComesTwice) {
  const auto task = *make_task("arithmetic", 2, 6);
  for (std::uint64_t i = 0; i < 300; ++i) {
    const Problem problem = task->problem(3, Split::HeldOut, i);
    ASSERT_EQ(problem.prompt.size(), 2u * static_cast<unsigned>(problem.difficulty));
    EXPECT_EQ(problem.prompt.back(), '=');
    int sum = 0;
    for (std::size_t k = 0; k < problem.steps.size(); ++k) {
      const char term = problem.prompt[2 * k];
      EXPECT_EQ(std::count(problem.prompt.begin(), problem.prompt.end(), term), 1);
      sum += term - '0';
      EXPECT_EQ(problem.steps[k], term + (":" + std::to_string(sum)));
    }
    EXPECT_EQ(problem.answer, std::to_string(sum));
  }
}

TEST(Arithmetic, TakesTheDocumentedTokens) {
  const auto task = *make_task("arithmetic", 2, 6);
  const Tokenizer tokenizer = *Tokenizer::byte_level(99);
  EXPECT_EQ(task->max_prompt_tokens(tokenizer), 1 + 2 * 6);
  EXPECT_EQ(task->max_trace_tokens(tokenizer), 4 * 6 + 5);
}

TEST(Cups, ItsTraceFollowsTheBall) {
  const auto task = *make_task("cups", 2, 8);
  for (std::uint64_t i = 0; i < 300; ++i) {
    const Problem problem = task->problem(3, Split::Train, i);
    char ball = problem.prompt[0];
    for (std::size_t k = 0; k < problem.steps.size(); ++k) {
      const char a = problem.prompt[3 * k + 2], b = problem.prompt[3 * k + 3];
      ASSERT_NE(a, b);
      ball = ball == a ? b : ball == b ? a : ball;
      EXPECT_EQ(problem.steps[k], (std::string{a, b, ':', ball}));
    }
  }
}

TEST(Cups, TakesTheDocumentedTokens) {
  const auto task = *make_task("cups", 2, 6);
  const Tokenizer tokenizer = *Tokenizer::byte_level(0);
  EXPECT_EQ(task->max_prompt_tokens(tokenizer), 1 + 3 * 6 + 2);
  EXPECT_EQ(task->max_trace_tokens(tokenizer), 5 * 6 + 5);
}

TEST(Cups, TheBallEndsUnderEveryCupEquallyOften) {
  const auto task = *make_task("cups", 2, 6);
  std::map<std::string, int> count;
  for (std::uint64_t i = 0; i < 6000; ++i) ++count[task->problem(1, Split::Train, i).answer];
  ASSERT_EQ(count.size(), 6u);
  for (const auto& [cup, n] : count) EXPECT_NEAR(n, 1000, 150) << cup;
}

}  // namespace
}  // namespace weft::trainer::data

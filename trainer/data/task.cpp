#include "trainer/data/task.h"

#include <array>

#include "base/check.h"
#include "base/text.h"
#include "trainer/data/example.h"

namespace weft::trainer::data {
namespace {

constexpr std::string_view kThinkOpen = "<think>", kThinkClose = "</think>",
                           kAnswerOpen = "<answer>", kAnswerClose = "</answer>";

/// The small limits keep the rejection loop in problem() short: both sides of the split are well
/// filled from difficulty 2 on.
struct Limits {
  int min, max;
};
constexpr Limits kArithmeticTerms{2, 8};  // different digits; nine of them have one sum only
constexpr Limits kCupsSwaps{2, 10};       // of fifteen pairs

std::string thinking(std::span<const std::string> steps, std::string_view separator) {
  return std::string(kThinkOpen) + join(steps, separator) + std::string(kThinkClose);
}

std::string answering(std::string_view answer) {
  return std::string(kAnswerOpen) + std::string(answer) + std::string(kAnswerClose);
}

std::string without(std::string text, std::string_view tag) {
  if (const auto at = text.find(tag); at != std::string::npos) text.erase(at, tag.size());
  return text;
}

Expected<void> check_range(std::string_view name, int min, int max, Limits limits) {
  if (min >= limits.min && max <= limits.max && min <= max) return {};
  return fail(Code::InvalidArgument,
              "difficulties " + std::to_string(min) + ".." + std::to_string(max) + " of task '" +
                  std::string(name) + "' must be an ascending range inside " +
                  std::to_string(limits.min) + ".." + std::to_string(limits.max));
}

}  // namespace

Split split_of(std::string_view prompt) {
  // Bits from the middle: the lowest ones of FNV-1a depend on the last bytes' lowest bits only.
  return (fnv1a(prompt) >> 32) % 8 == 0 ? Split::HeldOut : Split::Train;
}

Problem Task::problem(std::uint64_t seed, Split split, std::uint64_t index, int difficulty) const {
  Rng rng(seed, split == Split::Train ? "problem/train" : "problem/held_out", index);
  return problem(rng, split, difficulty);
}

Problem Task::problem(Rng& rng, Split split, int difficulty) const {
  if (difficulty == 0) {
    const int span = max_difficulty_ - min_difficulty_ + 1;
    difficulty = min_difficulty_ + static_cast<int>(rng.below(static_cast<std::uint32_t>(span)));
  }
  WEFT_CHECK(difficulty >= min_difficulty_ && difficulty <= max_difficulty_,
             std::to_string(difficulty));
  for (int tries = 0; tries < 100000; ++tries) {
    Problem drawn = draw(difficulty, rng);
    if (split_of(drawn.prompt) == split) return drawn;
  }
  check_failed("a problem on this side of the split", __FILE__, __LINE__, std::string(name()));
}

std::string Task::demonstration(const Problem& problem, Style style, Rng& rng) const {
  if (style == Style::Complete)
    return thinking(problem.steps, separator()) + answering(problem.answer);
  const std::string guessed = answering(guess(problem, rng));
  if (style == Style::Blind)
    return rng.below(2) == 0 ? thinking({}, separator()) + guessed : guessed;
  WEFT_CHECK(problem.steps.size() >= 2, problem.prompt);
  const std::size_t shown = 1 + rng.below(static_cast<std::uint32_t>(problem.steps.size() - 1));
  return thinking(std::span(problem.steps).first(shown), separator()) + guessed;
}

int Task::max_prompt_tokens(const Tokenizer& tokenizer) const {
  return static_cast<int>(prompt_tokens(tokenizer, longest().prompt).size());
}

int Task::max_trace_tokens(const Tokenizer& tokenizer) const {
  Rng unused(0, "complete traces draw nothing");
  const std::string trace = demonstration(longest(), Style::Complete, unused);
  return static_cast<int>(tokenizer.encode(trace).size()) + 1;
}

std::string break_format(std::string_view demonstration, Rng& rng) {
  const std::string text(demonstration);
  // A blind guess may come without think tags: leaving those out would break nothing.
  const bool thinks = text.find(kThinkOpen) != std::string::npos;
  constexpr std::array kTags = {kAnswerOpen, kAnswerClose, kThinkOpen, kThinkClose};
  const std::uint32_t way = rng.below(7);
  if (way < (thinks ? 4u : 2u)) return without(text, kTags[way]);
  if (way == 4) return without(without(text, kAnswerOpen), kAnswerClose);
  if (way == 5) return text + text.substr(text.find(kAnswerOpen));
  std::string bare = text;
  for (const std::string_view tag : kTags) bare = without(bare, tag);
  return bare;
}

std::span<const std::string> task_names() {
  static const std::vector<std::string> names = {"arithmetic", "cups"};
  return names;
}

Expected<std::unique_ptr<Task>> make_task(std::string_view name, int min_difficulty,
                                          int max_difficulty) {
  if (name == "arithmetic") {
    WEFT_TRY(check_range(name, min_difficulty, max_difficulty, kArithmeticTerms));
    return make_arithmetic(min_difficulty, max_difficulty);
  }
  if (name == "cups") {
    WEFT_TRY(check_range(name, min_difficulty, max_difficulty, kCupsSwaps));
    return make_cups(min_difficulty, max_difficulty);
  }
  std::string message =
      "unknown task '" + std::string(name) + "'; known: " + join(task_names(), ", ");
  if (const std::string near = closest(name, task_names()); !near.empty())
    message += " (did you mean '" + near + "'?)";
  return fail(Code::InvalidArgument, std::move(message));
}

}  // namespace weft::trainer::data

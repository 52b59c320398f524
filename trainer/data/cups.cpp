// A ball under one of six cups whose places are swapped two by two; each step of the trace repeats
// a swap and says where the ball is after it. No pair is swapped twice, so that a swap is found in
// the prompt as what follows the step's predecessor there.
#include <array>
#include <utility>

#include "trainer/data/task.h"

namespace weft::trainer::data {
namespace {

constexpr std::uint32_t kCups = 6;

char cup(std::uint32_t index) { return static_cast<char>('a' + index); }

Problem from_swaps(std::uint32_t start, std::span<const std::array<std::uint32_t, 2>> swaps) {
  Problem problem;
  problem.difficulty = static_cast<int>(swaps.size());
  problem.prompt = cup(start);
  std::uint32_t ball = start;
  for (const auto& [a, b] : swaps) {
    problem.prompt += problem.steps.empty() ? ':' : ',';
    problem.prompt += cup(a);
    problem.prompt += cup(b);
    ball = ball == a ? b : ball == b ? a : ball;
    problem.steps.push_back({cup(a), cup(b), ':', cup(ball)});
  }
  problem.prompt += '=';
  problem.answer = std::string(1, cup(ball));
  return problem;
}

class Cups final : public Task {
 public:
  using Task::Task;

  std::string_view name() const override { return "cups"; }
  std::string_view separator() const override { return " "; }

  std::string guess(const Problem&, Rng& rng) const override {
    return std::string(1, cup(rng.below(kCups)));
  }

  Problem longest() const override {
    return from_swaps(0, std::vector<std::array<std::uint32_t, 2>>(
                             static_cast<std::size_t>(max_difficulty()), {0, 1}));
  }

 private:
  /// The end is drawn first and swaps until they lead there: without that the ball would mostly
  /// end where it began, and the guess "it never moved" would earn too often.
  Problem draw(int difficulty, Rng& rng) const override {
    const std::uint32_t start = rng.below(kCups), end = rng.below(kCups);
    std::vector<std::array<std::uint32_t, 2>> pairs;
    for (std::uint32_t a = 0; a < kCups; ++a)
      for (std::uint32_t b = a + 1; b < kCups; ++b) pairs.push_back({a, b});
    const auto count = static_cast<std::size_t>(difficulty);
    for (;;) {
      for (std::size_t i = 0; i < count; ++i) {
        std::swap(pairs[i], pairs[i + rng.below(static_cast<std::uint32_t>(pairs.size() - i))]);
        if (rng.below(2) == 1) std::swap(pairs[i][0], pairs[i][1]);
      }
      const auto swaps = std::span(pairs).first(count);
      Problem problem = from_swaps(start, swaps);
      if (problem.answer[0] == cup(end)) return problem;
    }
  }
};

}  // namespace

std::unique_ptr<Task> make_cups(int min_swaps, int max_swaps) {
  return std::make_unique<Cups>(min_swaps, max_swaps);
}

}  // namespace weft::trainer::data

// Sums of different one-digit terms; each step of the trace repeats a term and adds it to the
// running sum. A term is found in the prompt as what follows the step's predecessor there, which is
// unambiguous because no term comes twice: two layers learn it.
#include <array>
#include <utility>

#include "trainer/data/task.h"

namespace weft::trainer::data {
namespace {

Problem from_terms(std::span<const int> terms) {
  Problem problem;
  problem.difficulty = static_cast<int>(terms.size());
  int sum = 0;
  for (const int term : terms) {
    if (!problem.prompt.empty()) problem.prompt += '+';
    problem.prompt += std::to_string(term);
    sum += term;
    problem.steps.push_back(std::to_string(term) + ":" + std::to_string(sum));
  }
  problem.prompt += '=';
  problem.answer = std::to_string(sum);
  return problem;
}

class Arithmetic final : public Task {
 public:
  using Task::Task;

  std::string_view name() const override { return "arithmetic"; }
  std::string_view separator() const override { return " "; }

  /// Uniform over the sums that so many terms can have.
  std::string guess(const Problem& problem, Rng& rng) const override {
    const int terms = problem.difficulty;
    const int smallest = terms * (terms + 1) / 2, largest = terms * (19 - terms) / 2;
    return std::to_string(
        smallest + static_cast<int>(rng.below(static_cast<std::uint32_t>(largest - smallest + 1))));
  }

  Problem longest() const override {
    std::vector<int> terms;
    for (int i = 0; i < max_difficulty(); ++i) terms.push_back(9 - i);
    return from_terms(terms);
  }

 private:
  Problem draw(int difficulty, Rng& rng) const override {
    std::array<int, 9> digits{1, 2, 3, 4, 5, 6, 7, 8, 9};
    for (int i = 0; i < difficulty; ++i)
      std::swap(digits[i],
                digits[i + static_cast<int>(rng.below(static_cast<std::uint32_t>(9 - i)))]);
    return from_terms(std::span(digits).first(static_cast<std::size_t>(difficulty)));
  }
};

}  // namespace

std::unique_ptr<Task> make_arithmetic(int min_terms, int max_terms) {
  return std::make_unique<Arithmetic>(min_terms, max_terms);
}

}  // namespace weft::trainer::data

// Sums of one-digit terms; the trace is the running sum.
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
    problem.steps.push_back(std::to_string(sum));
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
    return std::to_string(terms +
                          static_cast<int>(rng.below(8u * static_cast<unsigned>(terms) + 1)));
  }

  Problem longest() const override {
    return from_terms(std::vector<int>(static_cast<std::size_t>(max_difficulty()), 9));
  }

 private:
  Problem draw(int difficulty, Rng& rng) const override {
    std::vector<int> terms(static_cast<std::size_t>(difficulty));
    for (int& term : terms) term = 1 + static_cast<int>(rng.below(9));
    return from_terms(terms);
  }
};

}  // namespace

std::unique_ptr<Task> make_arithmetic(int min_terms, int max_terms) {
  return std::make_unique<Arithmetic>(min_terms, max_terms);
}

}  // namespace weft::trainer::data

#include "trainer/rl/metrics.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/check.h"

namespace weft::trainer::rl {
namespace {

template <class Value>
double mean_of(std::span<const Outcome> outcomes, Value value) {
  double sum = 0;
  for (const Outcome& outcome : outcomes) sum += value(outcome);
  return sum / static_cast<double>(outcomes.size());
}

double reward_deviation(std::span<const Outcome> outcomes, double mean) {
  if (outcomes.size() < 2) return 0;
  double squares = 0;
  for (const Outcome& outcome : outcomes)
    squares += (outcome.score.total - mean) * (outcome.score.total - mean);
  return std::sqrt(squares / static_cast<double>(outcomes.size() - 1));
}

double length_at_95_percent(std::span<const Outcome> outcomes) {
  std::vector<int> lengths;
  for (const Outcome& outcome : outcomes) lengths.push_back(outcome.length);
  std::sort(lengths.begin(), lengths.end());
  return lengths[(lengths.size() * 95 + 99) / 100 - 1];
}

double share_of_equal_groups(std::span<const Outcome> outcomes, std::size_t group_size) {
  std::size_t equal = 0;
  for (std::size_t begin = 0; begin < outcomes.size(); begin += group_size) {
    const std::span<const Outcome> group = outcomes.subspan(begin, group_size);
    equal += std::all_of(group.begin(), group.end(), [&](const Outcome& outcome) {
      return outcome.score.total == group[0].score.total;
    });
  }
  return static_cast<double>(equal * group_size) / static_cast<double>(outcomes.size());
}

std::vector<DifficultyMean> by_difficulty(std::span<const Outcome> outcomes) {
  std::map<int, DifficultyMean> sums;
  for (const Outcome& outcome : outcomes) {
    DifficultyMean& sum = sums[outcome.difficulty];
    sum.difficulty = outcome.difficulty;
    sum.count += 1;
    sum.accuracy += outcome.correct;
    sum.length += outcome.length;
  }
  std::vector<DifficultyMean> means;
  for (auto& [difficulty, sum] : sums) {
    sum.accuracy /= sum.count;
    sum.length /= sum.count;
    means.push_back(sum);
  }
  return means;
}

}  // namespace

StepSummary summarize(std::span<const Outcome> outcomes, int num_generations) {
  StepSummary summary;
  if (outcomes.empty()) return summary;
  WEFT_CHECK(num_generations >= 1, std::to_string(num_generations));
  const auto group_size = static_cast<std::size_t>(num_generations);
  WEFT_CHECK(outcomes.size() % group_size == 0, std::to_string(outcomes.size()));

  summary.reward_mean = mean_of(outcomes, [](const Outcome& o) { return o.score.total; });
  summary.reward_std = reward_deviation(outcomes, summary.reward_mean);
  for (std::size_t c = 0; c < outcomes[0].score.components.size(); ++c)
    summary.component_means.emplace_back(
        outcomes[0].score.components[c].first,
        mean_of(outcomes, [&](const Outcome& o) { return o.score.components.at(c).second; }));
  summary.accuracy = mean_of(outcomes, [](const Outcome& o) { return o.correct ? 1.0 : 0.0; });
  summary.length_mean = mean_of(outcomes, [](const Outcome& o) { return o.length; });
  summary.length_p95 = length_at_95_percent(outcomes);
  summary.truncated_share =
      mean_of(outcomes, [](const Outcome& o) { return o.truncated ? 1.0 : 0.0; });
  summary.zero_std_share = share_of_equal_groups(outcomes, group_size);
  summary.by_difficulty = by_difficulty(outcomes);
  return summary;
}

}  // namespace weft::trainer::rl

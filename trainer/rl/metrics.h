// One GRPO step in figures.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "trainer/rl/reward.h"

namespace weft::trainer::rl {

/// One completion of the step.
struct Outcome {
  Score score;
  bool correct = false;    // the answer was right, whatever it was rewarded
  int length = 0;          // completion tokens, eos included
  bool truncated = false;  // stopped by the length limit, not by eos
  int difficulty = 0;
};

struct DifficultyMean {
  int difficulty = 0;
  int count = 0;
  double accuracy = 0;
  double length = 0;
};

struct StepSummary {
  double reward_mean = 0;
  double reward_std = 0;  // of the sample, over all completions
  std::vector<std::pair<std::string, double>> component_means;  // unweighted
  double accuracy = 0;
  double length_mean = 0;
  double length_p95 = 0;  // nearest rank: at least 95 % are no longer
  double truncated_share = 0;
  double zero_std_share = 0;  // groups whose rewards are all equal: nothing to learn from
  std::vector<DifficultyMean> by_difficulty;  // ascending
};

/// outcomes: group after group of num_generations, all scored by the same rewards. Empty gives
/// zeros.
StepSummary summarize(std::span<const Outcome> outcomes, int num_generations);

}  // namespace weft::trainer::rl

// Rule-based rewards: functions from a completion's text and the gold answer to numbers in [0, 1],
// and their weighted sum. Completions are adversarial input: a policy is trained to exploit them.
// Source: DeepSeek-R1 (arXiv:2501.12948) 2.2.2, accuracy and format rewards; the format as TRL's.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/expected.h"

namespace weft::trainer::rl {

/// The trimmed text of the last well-formed <answer>...</answer> after thinking, if there is one.
/// After thinking: behind the last </think>, or anywhere when there is no think tag at all; nothing
/// behind a <think> that never closes. Well-formed: no other tag of the four inside. Linear time.
std::optional<std::string> extract_answer(std::string_view completion);

/// accuracy.answer: 1 when extract_answer finds exactly the trimmed gold answer. An empty gold
/// answer is never matched.
double accuracy_answer(std::string_view completion, std::string_view gold);

/// format.think_answer: 1 when the whole completion, whitespace around and between aside, is
/// <think>...</think><answer>...</answer> with exactly one of each tag.
double format_think_answer(std::string_view completion);

struct Score {
  double total = 0;                                        // weighted sum
  std::vector<std::pair<std::string, double>> components;  // unweighted, in the order asked for
  std::string extracted;                                   // the answer found; "" when none
};

struct WeightedReward {
  std::string name;
  double weight = 1.0;
};

/// The reward functions of a run. A value. Threads: any.
class Rewards {
 public:
  /// Errors: InvalidArgument for none at all, an unknown name (lists the known ones), a name given
  /// twice, or a weight that is not finite.
  static Expected<Rewards> make(std::span<const WeightedReward> rewards);

  Score score(std::string_view completion, std::string_view gold) const;
  std::span<const WeightedReward> items() const { return items_; }

 private:
  Rewards() = default;
  std::vector<WeightedReward> items_;
};

std::span<const std::string> reward_names();

}  // namespace weft::trainer::rl

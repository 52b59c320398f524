#include "trainer/rl/grpo.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace weft::trainer::rl {
namespace {

/// Added to the standard deviation as TRL does: rewards that differ by rounding only must not be
/// blown up to advantages of one.
constexpr double kDeviationFloor = 1e-4;
/// exp() of more than this is of no use to a loss, and infinity times a zero advantage is NaN.
constexpr double kMaxLogRatio = 30.0;

double mean(std::span<const float> values) {
  double sum = 0;
  for (const float v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

/// Of a sample (n - 1), as in TRL and verl.
double deviation(std::span<const float> values) {
  if (values.size() < 2) return 0;
  const double centre = mean(values);
  double squares = 0;
  for (const float v : values) squares += (v - centre) * (v - centre);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

double bounded_exp(double x) { return std::exp(std::clamp(x, -kMaxLogRatio, kMaxLogRatio)); }

}  // namespace

std::vector<float> advantages(std::span<const float> rewards, int num_generations,
                              ScaleRewards scale) {
  WEFT_CHECK(num_generations >= 1, std::to_string(num_generations));
  const auto group_size = static_cast<std::size_t>(num_generations);
  WEFT_CHECK(rewards.size() % group_size == 0, std::to_string(rewards.size()));
  std::vector<float> result(rewards.size(), 0.0f);
  const double batch_deviation = scale == ScaleRewards::Batch ? deviation(rewards) : 0.0;
  for (std::size_t begin = 0; begin < rewards.size(); begin += group_size) {
    const std::span<const float> group = rewards.subspan(begin, group_size);
    const auto [least, most] = std::minmax_element(group.begin(), group.end());
    if (*least == *most) continue;
    const double centre = mean(group);
    const double divisor = scale == ScaleRewards::None    ? 1.0
                           : scale == ScaleRewards::Batch ? batch_deviation + kDeviationFloor
                                                          : deviation(group) + kDeviationFloor;
    for (std::size_t i = 0; i < group_size; ++i)
      result[begin + i] = static_cast<float>((group[i] - centre) / divisor);
  }
  return result;
}

std::vector<float> token_weights(LossType type, std::span<const int> lengths, int max_length) {
  const auto sequences = static_cast<double>(lengths.size());
  double tokens = 0;
  for (const int length : lengths) {
    WEFT_CHECK(length >= 0, std::to_string(length));
    tokens += length;
  }
  WEFT_CHECK(type != LossType::DrGrpo || max_length >= 1, std::to_string(max_length));
  std::vector<float> weights;
  weights.reserve(lengths.size());
  for (const int length : lengths) {
    const double divisor = type == LossType::Grpo   ? sequences * length
                           : type == LossType::Dapo ? tokens
                                                    : sequences * max_length;
    weights.push_back(length == 0 ? 0.0f : static_cast<float>(1.0 / divisor));
  }
  return weights;
}

TokenLoss token_loss(double logprob, double old_logprob, double ref_logprob, double advantage,
                     const GrpoOptions& options) {
  TokenLoss result;
  const double ratio = std::isnan(old_logprob) ? 1.0 : bounded_exp(logprob - old_logprob);
  const double bounded = std::clamp(ratio, 1.0 - options.epsilon, 1.0 + options.epsilon_high);
  result.clipped = bounded * advantage < ratio * advantage;
  result.loss = -(result.clipped ? bounded : ratio) * advantage;
  result.d_logprob = result.clipped ? 0.0 : -ratio * advantage;
  if (options.beta > 0) {
    const double difference = ref_logprob - logprob;
    const double inverse_ratio = bounded_exp(difference);
    result.kl = inverse_ratio - difference - 1.0;
    result.loss += options.beta * result.kl;
    result.d_logprob += options.beta * (1.0 - inverse_ratio);
  }
  return result;
}

}  // namespace weft::trainer::rl

// Group-relative policy optimisation as pure functions: advantages of a group, and one token's loss
// with its derivative. No value model.
// Source: DeepSeekMath (arXiv:2402.03300) section 4; DeepSeek-R1 Methods; names as in TRL.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace weft::trainer::rl {

enum class LossType { Grpo, Dapo, DrGrpo };      // how tokens are averaged
enum class ScaleRewards { Group, Batch, None };  // what the advantage is divided by

struct GrpoOptions {
  double epsilon = 0.2;
  double epsilon_high = 0.2;
  double beta = 0.0;  // weight of the KL estimate to the reference
};

/// Advantages of num_prompts x num_generations rewards, group after group: reward minus the group's
/// mean, over the sample standard deviation (n - 1) + 1e-4 of the group or of all rewards, as in
/// TRL. A group whose rewards are all equal gets zeros.
std::vector<float> advantages(std::span<const float> rewards, int num_generations,
                              ScaleRewards scale);

/// Factor of each token's loss so that the sum over all tokens of the global batch is the chosen
/// mean. lengths: completion tokens per sequence; result: one factor a sequence.
/// Grpo: mean over sequences of the mean over tokens. Dapo: mean over all tokens. DrGrpo: sum over
/// tokens divided by sequences x max_length. A sequence without tokens gets 0.
std::vector<float> token_weights(LossType type, std::span<const int> lengths, int max_length);

struct TokenLoss {
  double loss = 0;       // not yet multiplied by the token's weight
  double d_logprob = 0;  // derivative of `loss` by the current log-probability
  double kl = 0;         // k3: exp(ref - logp) - (ref - logp) - 1
  bool clipped = false;  // the clipped branch was taken
};

/// loss = -min(r A, clip(r, 1-eps, 1+eps_high) A) + beta kl, r = exp(logp - old).
/// old = NaN: on policy, r = 1 (its derivative kept). kl is 0 and ref is not read unless beta > 0.
/// Log-ratios are cut at +-30, so that the loss of finite log-probabilities is finite.
TokenLoss token_loss(double logprob, double old_logprob, double ref_logprob, double advantage,
                     const GrpoOptions& options);

}  // namespace weft::trainer::rl

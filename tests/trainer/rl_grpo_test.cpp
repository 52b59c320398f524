#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "base/rng.h"
#include "trainer/rl/grpo.h"

namespace weft::trainer::rl {
namespace {

constexpr double kOnPolicy = std::numeric_limits<double>::quiet_NaN();

double slow_deviation(const std::vector<double>& values) {
  const double n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double sum = 0;
  for (const double v : values) sum += std::pow(v - mean, 2);
  return std::sqrt(sum / (n - 1));
}

TEST(Advantages, EqualTheDefinition) {
  for (std::uint64_t round = 0; round < 50; ++round) {
    Rng rng(1, "advantages", round);
    const int size = 2 + static_cast<int>(rng.below(15)),
              groups = 1 + static_cast<int>(rng.below(8));
    std::vector<float> rewards;
    for (int i = 0; i < size * groups; ++i) rewards.push_back(static_cast<float>(rng.normal()));
    const double batch_deviation = slow_deviation({rewards.begin(), rewards.end()});
    for (const auto scale : {ScaleRewards::Group, ScaleRewards::Batch, ScaleRewards::None}) {
      const auto result = advantages(rewards, size, scale);
      for (int g = 0; g < groups; ++g) {
        const std::vector<double> group(rewards.begin() + g * size,
                                        rewards.begin() + (g + 1) * size);
        const double mean = std::accumulate(group.begin(), group.end(), 0.0) / size;
        const double divisor = scale == ScaleRewards::None    ? 1
                               : scale == ScaleRewards::Batch ? batch_deviation + 1e-4
                                                              : slow_deviation(group) + 1e-4;
        for (int i = 0; i < size; ++i)
          EXPECT_NEAR(result[static_cast<std::size_t>(g * size + i)],
                      (group[static_cast<std::size_t>(i)] - mean) / divisor, 1e-5);
      }
    }
  }
}

TEST(Advantages, AGroupOfEqualRewardsTeachesNothing) {
  const std::vector<float> rewards = {1.2f, 1.2f, 1.2f, 0, 1.2f, 0.2f};
  for (const auto scale : {ScaleRewards::Group, ScaleRewards::Batch, ScaleRewards::None}) {
    const auto result = advantages(rewards, 3, scale);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(result[static_cast<std::size_t>(i)], 0.0f);
    EXPECT_GT(result[4], 0.0f);
  }
  for (const float a : advantages(rewards, 1, ScaleRewards::Group)) EXPECT_EQ(a, 0.0f);
  EXPECT_TRUE(advantages({}, 4, ScaleRewards::Batch).empty());
}

TEST(Advantages, RoundingErrorsAreNotBlownUp) {
  const std::vector<float> rewards = {1.2f, std::nextafter(1.2f, 2.0f), 1.2f, 1.2f};
  for (const float a : advantages(rewards, 4, ScaleRewards::Group)) EXPECT_LT(std::abs(a), 0.01f);
}

TEST(Advantages, OfAGroupAddUpToZero) {
  const std::vector<float> rewards = {1.2f, 0, 0.2f, 1, 0, 0, 1.2f, 0};
  const auto result = advantages(rewards, 8, ScaleRewards::Group);
  EXPECT_NEAR(std::accumulate(result.begin(), result.end(), 0.0), 0.0, 1e-6);
}

double total(LossType type, const std::vector<int>& lengths, int max_length) {
  const auto weights = token_weights(type, lengths, max_length);
  double sum = 0;
  for (std::size_t i = 0; i < lengths.size(); ++i)
    sum += weights[i] * static_cast<double>(lengths[i]);
  return sum;
}

TEST(TokenWeights, MakeTheMeanThatTheyName) {
  const std::vector<int> lengths = {3, 10, 1, 7};
  EXPECT_NEAR(total(LossType::Grpo, lengths, 12), 1.0, 1e-6);
  EXPECT_NEAR(total(LossType::Dapo, lengths, 12), 1.0, 1e-6);
  EXPECT_NEAR(total(LossType::DrGrpo, lengths, 12), 21.0 / (4 * 12), 1e-6);
  const auto grpo = token_weights(LossType::Grpo, lengths, 12);
  for (std::size_t i = 0; i < lengths.size(); ++i)
    EXPECT_FLOAT_EQ(grpo[i] * static_cast<float>(lengths[i]),
                    0.25f);  // each sequence counts the same
  const auto dapo = token_weights(LossType::Dapo, lengths, 12);
  for (const float w : dapo) EXPECT_FLOAT_EQ(w, 1.0f / 21);  // each token counts the same
}

TEST(TokenWeights, ASequenceWithoutTokensWeighsNothing) {
  for (const auto type : {LossType::Grpo, LossType::Dapo, LossType::DrGrpo}) {
    for (const float w : token_weights(type, std::vector<int>{0, 0}, 4)) EXPECT_EQ(w, 0.0f);
    EXPECT_TRUE(token_weights(type, {}, 4).empty());
  }
}

TEST(TokenLoss, ItsDerivativeIsThatOfFiniteDifferences) {
  constexpr double kStep = 1e-6;
  int clipped = 0, compared = 0;
  for (std::uint64_t i = 0; i < 5000; ++i) {
    Rng rng(1, "token loss", i);
    const double logprob = -3 * rng.uniform(), old = logprob + 0.5 * rng.normal();
    const double ref = logprob + rng.normal(), advantage = 2 * rng.normal();
    const GrpoOptions options{
        .epsilon = 0.2, .epsilon_high = 0.28, .beta = rng.below(2) == 0 ? 0.0 : 0.1};
    const auto at = [&](double x) { return token_loss(x, old, ref, advantage, options); };
    const TokenLoss here = at(logprob), left = at(logprob - kStep), right = at(logprob + kStep);
    if (left.clipped != right.clipped) continue;  // the corner has no derivative
    EXPECT_NEAR(here.d_logprob, (right.loss - left.loss) / (2 * kStep), 1e-6);
    clipped += here.clipped;
    ++compared;
  }
  EXPECT_GT(clipped, 200);
  EXPECT_GT(compared, 4900);
}

TEST(TokenLoss, OnPolicyIsThePolicyGradient) {
  const TokenLoss loss = token_loss(-0.7, kOnPolicy, 0, 1.5, {});
  EXPECT_DOUBLE_EQ(loss.loss, -1.5);
  EXPECT_DOUBLE_EQ(loss.d_logprob, -1.5);
  EXPECT_FALSE(loss.clipped);
  const TokenLoss same = token_loss(-0.7, -0.7, 0, 1.5, {});
  EXPECT_DOUBLE_EQ(same.d_logprob, loss.d_logprob);
}

TEST(TokenLoss, ClipsOnlyWhereThePolicyHasAlreadyGoneFarEnough) {
  const GrpoOptions options{.epsilon = 0.2, .epsilon_high = 0.3, .beta = 0};
  const double up = std::log(1.5), down = std::log(0.5);
  EXPECT_TRUE(token_loss(up, 0, 0, 1, options).clipped);
  EXPECT_DOUBLE_EQ(token_loss(up, 0, 0, 1, options).loss, -1.3);
  EXPECT_EQ(token_loss(up, 0, 0, 1, options).d_logprob, 0.0);
  EXPECT_TRUE(token_loss(down, 0, 0, -1, options).clipped);
  EXPECT_DOUBLE_EQ(token_loss(down, 0, 0, -1, options).loss, 0.8);
  EXPECT_FALSE(token_loss(up, 0, 0, -1, options).clipped);  // still pulled back
  EXPECT_FALSE(token_loss(down, 0, 0, 1, options).clipped);
  EXPECT_FALSE(token_loss(up, 0, 0, 0, options).clipped);
}

TEST(TokenLoss, TheKlEstimateIsNeverNegativeAndZeroAtTheReference) {
  const GrpoOptions options{.beta = 0.5};
  EXPECT_EQ(token_loss(-1, kOnPolicy, -1, 0, options).kl, 0.0);
  for (double ref = -6; ref <= 0; ref += 0.25)
    EXPECT_GE(token_loss(-2, kOnPolicy, ref, 0, options).kl, 0.0);
}

// The reference is not read without beta: it may hold anything.
TEST(TokenLoss, WithoutBetaTheReferenceIsNotRead) {
  EXPECT_EQ(token_loss(-1, kOnPolicy, kOnPolicy, 2, {}).loss, -2.0);
  EXPECT_EQ(token_loss(-1, kOnPolicy, kOnPolicy, 2, {}).kl, 0.0);
}

TEST(TokenLoss, StaysFiniteFarFromTheOldPolicy) {
  for (const double advantage : {-1.0, 0.0, 1.0}) {
    for (const double logprob : {-2000.0, 0.0}) {
      const TokenLoss loss = token_loss(logprob, -1000, -1000, advantage, {.beta = 0.1});
      EXPECT_TRUE(std::isfinite(loss.loss));
      EXPECT_TRUE(std::isfinite(loss.d_logprob));
    }
  }
}

}  // namespace
}  // namespace weft::trainer::rl

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "trainer/rl/sampler.h"

namespace weft::trainer::rl {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> p;
  double sum = 0;
  for (const float x : logits) sum += p.emplace_back(std::exp(x / temperature));
  for (double& x : p) x /= sum;
  return p;
}

TEST(Sample, DrawsFromTheSoftmaxAtTheTemperature) {
  const std::vector<float> logits = {0.3f, -1.0f, 2.0f, 0.0f, 1.0f};
  constexpr int kDraws = 40000;
  for (const double temperature : {0.5, 1.0, 2.0}) {
    const auto expected = softmax(logits, temperature);
    const auto at_one = softmax(logits, 1.0);
    std::vector<int> count(logits.size());
    Rng rng(1, "sample test");
    for (int i = 0; i < kDraws; ++i) {
      const Sampled drawn = sample(logits, temperature, rng);
      const auto token = static_cast<std::size_t>(drawn.token);
      ASSERT_LT(token, logits.size());
      ++count[token];
      EXPECT_NEAR(drawn.logprob, std::log(at_one[token]), 1e-5);
    }
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double deviation = std::sqrt(expected[i] * (1 - expected[i]) / kDraws);
      EXPECT_NEAR(static_cast<double>(count[i]) / kDraws, expected[i], 5 * deviation) << i;
    }
  }
}

TEST(Sample, TemperatureZeroTakesTheFirstOfTheLargest) {
  Rng rng(1, "greedy");
  const Sampled drawn = sample(std::vector<float>{0, 3, 1, 3}, 0.0, rng);
  EXPECT_EQ(drawn.token, 1);
  EXPECT_NEAR(drawn.logprob, 3 - std::log(2 * std::exp(3.0) + 1 + std::exp(1.0)), 1e-6);
  Rng untouched(1, "greedy");
  EXPECT_EQ(rng.next_u64(), untouched.next_u64());
  EXPECT_EQ(sample(std::vector<float>{0, 3, 1}, 1e-320, rng).token, 1);
}

TEST(Sample, TheSameGeneratorGivesTheSameToken) {
  const std::vector<float> logits(100, 0.0f);
  Rng a(1, "s", 2, 3), b(1, "s", 2, 3);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(sample(logits, 1, a).token, sample(logits, 1, b).token);
}

TEST(Sample, NeverDrawsTheImpossible) {
  Rng rng(1, "masked");
  const std::vector<float> logits = {-kInfinity, 1, -kInfinity, 2, -kInfinity};
  for (int i = 0; i < 2000; ++i) {
    const int token = sample(logits, 1.0, rng).token;
    EXPECT_TRUE(token == 1 || token == 3);
  }
}

TEST(Sample, LargeLogitsDoNotOverflow) {
  Rng rng(1, "large");
  const Sampled drawn = sample(std::vector<float>{1e30f, -1e30f, 0}, 1.0, rng);
  EXPECT_EQ(drawn.token, 0);
  EXPECT_EQ(drawn.logprob, 0.0f);
}

TEST(Sample, ABrokenModelShowsInTheLogprob) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Rng rng(1, "nan");
  for (int i = 0; i < 100; ++i) {
    const Sampled drawn = sample(std::vector<float>{nan, 1, nan}, 1.0, rng);
    EXPECT_EQ(drawn.token, 1);
    EXPECT_TRUE(std::isnan(drawn.logprob));
  }
  for (const auto& logits :
       {std::vector<float>{nan, nan}, std::vector<float>{-kInfinity, -kInfinity},
        std::vector<float>{kInfinity, kInfinity}}) {
    const Sampled drawn = sample(logits, 1.0, rng);
    EXPECT_GE(drawn.token, 0);
    EXPECT_LT(drawn.token, 2);
    EXPECT_TRUE(std::isnan(drawn.logprob));
  }
}

}  // namespace
}  // namespace weft::trainer::rl

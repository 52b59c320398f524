#include "runtime/rehearse/curves.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/rng.h"
#include "trainer/hf/inventory.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

// Loss over tokens and parameters; the constants of Hoffmann et al. (2022), approach 3. A shape,
// not a forecast: this model's data and tokenizer are others.
constexpr double kFloor = 1.69, kOfParameters = 406.4, kOfTokens = 410.7;
constexpr double kParameterPower = 0.34, kTokenPower = 0.28;
constexpr double kSynthNoise = 0.004;
constexpr int kSamples = 8;

}  // namespace

SyntheticCurves::SyntheticCurves(const Job& job, std::uint64_t seed)
    : job_(job), seed_(seed), active_(static_cast<double>(trainer::hf::count(job.model).active)) {}

double SyntheticCurves::reward_at(long long stage_step) const {
  const double length = std::max(8.0, 0.35 * job_.grpo.steps);
  return 0.15 + 0.8 * (1 - std::exp(-static_cast<double>(stage_step) / length));
}

json SyntheticCurves::record(const std::string& stage, long long step, long long stage_step,
                             double tokens) const {
  Rng rng(seed_, "synthetic curves", static_cast<std::uint64_t>(step));
  const double noise = kSynthNoise * rng.normal();
  if (stage != "grpo") {
    const double start = std::log(static_cast<double>(job_.model.vocab_size));
    const double loss = kFloor + kOfParameters / std::pow(active_, kParameterPower) +
                        kOfTokens / std::pow(tokens + 1, kTokenPower);
    return {{"loss", std::min(start, loss) * (1 + noise)},
            {"grad_norm", (0.1 + 2 * std::exp(-static_cast<double>(step) / 500)) *
                              std::exp(0.15 * rng.normal())},
            {"synthetic", true}};
  }
  const double reward = std::clamp(reward_at(stage_step) + 4 * noise, 0.0, 1.2);
  const double longest = job_.grpo.max_completion_length;
  const double length =
      longest * (0.15 + 0.45 * reward_at(stage_step)) * std::exp(0.05 * rng.normal());
  return {{"loss", 0.01 * rng.normal()},
          {"grad_norm", 0.2 * std::exp(0.2 * rng.normal())},
          {"reward", reward},
          {"accuracy", std::clamp(reward / 1.2, 0.0, 1.0)},
          {"completions/mean_length", std::min(longest, length)},
          {"synthetic", true}};
}

std::vector<json> SyntheticCurves::samples(long long step, long long stage_step) const {
  std::vector<json> lines;
  for (int i = 0; i < kSamples; ++i) {
    Rng rng(seed_, "synthetic samples", static_cast<std::uint64_t>(step),
            static_cast<std::uint64_t>(i));
    const unsigned a = rng.below(90) + 10, b = rng.below(90) + 10;
    const bool right = rng.uniform() < reward_at(stage_step);
    const unsigned answer = right ? a + b : a + b + 1 + rng.below(9);
    const std::string numbers = std::to_string(a) + "+" + std::to_string(b);
    lines.push_back({{"step", step},
                     {"item", i},
                     {"prompt", "[synthetic] " + numbers + "="},
                     {"completion", "<think>[synthetic: no model wrote this] " + numbers +
                                        "</think><answer>" + std::to_string(answer) + "</answer>"},
                     {"reward", right ? 1.2 : 0.2},
                     {"advantage", right ? 0.5 : -0.5},
                     {"synthetic", true}});
  }
  return lines;
}

}  // namespace weft::runtime

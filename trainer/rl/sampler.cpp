#include "trainer/rl/sampler.h"

#include <cmath>
#include <limits>

#include "base/check.h"

namespace weft::trainer::rl {
namespace {

/// The first of the largest logits; NaN never wins.
std::size_t largest(std::span<const float> logits) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < logits.size(); ++i)
    if (logits[i] > logits[best] || (std::isnan(logits[best]) && !std::isnan(logits[i]))) best = i;
  return best;
}

/// sum of exp((logit - top) / temperature); NaN counts as nothing.
double partition(std::span<const float> logits, double top, double inverse_temperature) {
  double sum = 0;
  for (const float logit : logits)
    if (!std::isnan(logit)) sum += std::exp((logit - top) * inverse_temperature);
  return sum;
}

}  // namespace

Sampled sample(std::span<const float> logits, double temperature, Rng& rng) {
  WEFT_CHECK(!logits.empty());
  WEFT_CHECK(temperature >= 0.0, std::to_string(temperature));
  std::size_t chosen = largest(logits);
  const double top = logits[chosen];
  double sum_at_one = 0;  // NaN included, to make logprob NaN
  for (const float logit : logits) sum_at_one += std::exp(logit - top);
  const double inverse = 1.0 / temperature;  // infinite: as good as temperature 0
  if (std::isfinite(inverse) && std::isfinite(top)) {
    const bool plain = temperature == 1.0 && !std::isnan(sum_at_one);
    double left = rng.uniform() * (plain ? sum_at_one : partition(logits, top, inverse));
    // Rounding may leave a rest at the end: then the last token that has a probability is drawn.
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (std::isnan(logits[i])) continue;
      const double mass = std::exp((logits[i] - top) * inverse);
      if (mass == 0.0) continue;
      chosen = i;
      left -= mass;
      if (left < 0.0) break;
    }
  }
  return {static_cast<int>(chosen),
          static_cast<float>(logits[chosen] - top - std::log(sum_at_one))};
}

}  // namespace weft::trainer::rl

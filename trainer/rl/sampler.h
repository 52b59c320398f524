// Draws the next token from logits.
#pragma once

#include <span>

#include "base/rng.h"

namespace weft::trainer::rl {

struct Sampled {
  int token = 0;
  float logprob = 0;  // at temperature 1, whatever temperature it was drawn at
};

/// One draw from softmax(logits / temperature); temperature 0 takes the largest logit, the first of
/// equals. logits: [vocab], not empty; -inf is never drawn, and a NaN counts as -inf but makes
/// logprob NaN, so that a broken model shows. Uses one uniform draw (none at temperature 0).
/// Allocates nothing.
Sampled sample(std::span<const float> logits, double temperature, Rng& rng);

}  // namespace weft::trainer::rl

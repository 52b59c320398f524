#include "trainer/rl/grpo.h"

#include <algorithm>
#include <cmath>

namespace weft::trainer::rl {

TokenLoss token_loss(double logprob, double old_logprob, double ref_logprob, double advantage,
                     const GrpoOptions& options) {
  TokenLoss out;
  const double ratio = std::isnan(old_logprob) ? 1.0 : std::exp(logprob - old_logprob);
  const double clipped = std::clamp(ratio, 1 - options.epsilon, 1 + options.epsilon_high);
  out.clipped = clipped * advantage < ratio * advantage;
  out.loss = -std::min(ratio * advantage, clipped * advantage);
  out.d_logprob = out.clipped ? 0.0 : -ratio * advantage;
  if (options.beta > 0) {
    const double gap = ref_logprob - logprob;
    out.kl = std::exp(gap) - gap - 1;
    out.loss += options.beta * out.kl;
    out.d_logprob += options.beta * (1 - std::exp(gap));
  }
  return out;
}

}  // namespace weft::trainer::rl

// AdamW over spans: the caller decides which parameters, on which rank, at which step.
// Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (ICLR 2019).
#pragma once

#include <span>

#include "base/small_floats.h"
#include "trainer/real.h"

namespace weft::trainer::optimizer {

struct AdamWOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.0;  // decoupled: value -= lr * weight_decay * value
  long long step = 1;         // of this update, from 1: bias correction
};

/// One update; all spans of one length. `gradient` is multiplied by gradient_scale (clipping) on
/// the way. Every element is a function of its own operands only. Moment: Real, or Bf16 as in the
/// DeepSeek-V3 report, section 3.3.1: computed in Real, used, then rounded to nearest even.
template <class Moment>
void adamw(std::span<Real> value, std::span<const Real> gradient, std::span<Moment> m,
           std::span<Moment> v, const AdamWOptions& options, double gradient_scale = 1.0);
inline void adamw(std::span<Real> value, std::span<const Real> gradient, std::span<Real> m,
                  std::span<Real> v, const AdamWOptions& options, double gradient_scale = 1.0) {
  adamw<Real>(value, gradient, m, v, options, gradient_scale);
}

/// Sum of squares in double. The order of the sum depends on the length only.
double squared_norm(std::span<const Real> values);

}  // namespace weft::trainer::optimizer

#include "trainer/optimizer/adamw.h"

#include <cmath>

#include "base/check.h"

namespace weft::trainer::optimizer {

void adamw(std::span<Real> value, std::span<const Real> gradient, std::span<Real> m,
           std::span<Real> v, const AdamWOptions& options, double gradient_scale) {
  WEFT_CHECK(value.size() == gradient.size() && value.size() == m.size() &&
             value.size() == v.size());
  const auto step = static_cast<double>(options.step);
  const Real beta1 = static_cast<Real>(options.beta1), beta2 = static_cast<Real>(options.beta2);
  const Real rest1 = static_cast<Real>(1 - options.beta1);
  const Real rest2 = static_cast<Real>(1 - options.beta2);
  const Real rate = static_cast<Real>(options.lr / (1 - std::pow(options.beta1, step)));
  const Real root = static_cast<Real>(1 / std::sqrt(1 - std::pow(options.beta2, step)));
  const Real epsilon = static_cast<Real>(options.epsilon);
  const Real keep = static_cast<Real>(1 - options.lr * options.weight_decay);
  const Real scale = static_cast<Real>(gradient_scale);
  Real* x = value.data();
  const Real* g = gradient.data();
  Real* first = m.data();
  Real* second = v.data();
  const std::size_t n = value.size();
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) {
    const Real d = g[i] * scale;
    first[i] = beta1 * first[i] + rest1 * d;
    second[i] = beta2 * second[i] + rest2 * d * d;
    x[i] = keep * x[i] - rate * first[i] / (std::sqrt(second[i]) * root + epsilon);
  }
}

double squared_norm(std::span<const Real> values) {
  double sum = 0;
  const Real* x = values.data();
  const std::size_t n = values.size();
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

}  // namespace weft::trainer::optimizer

#include "trainer/optimizer/adamw.h"

#include <cmath>

#include "base/check.h"
#include "trainer/kernels/vector_math.h"

namespace weft::trainer::optimizer {

template <class Moment>
void adamw(std::span<Real> value, std::span<const Real> gradient, std::span<Moment> m,
           std::span<Moment> v, const AdamWOptions& options, double gradient_scale) {
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
  Moment* first = m.data();
  Moment* second = v.data();
  const std::size_t n = value.size();
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) {
    const Real d = g[i] * scale;
    const Real mean = beta1 * static_cast<Real>(first[i]) + rest1 * d;
    const Real square = beta2 * static_cast<Real>(second[i]) + rest2 * d * d;
    first[i] = static_cast<Moment>(mean);
    second[i] = static_cast<Moment>(square);
    x[i] = keep * x[i] - rate * mean / (std::sqrt(square) * root + epsilon);
  }
}

#define WEFT_INSTANTIATE(Moment)                                                 \
  template void adamw(std::span<Real>, std::span<const Real>, std::span<Moment>, \
                      std::span<Moment>, const AdamWOptions&, double);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

double squared_norm(std::span<const Real> values) {
  double sum = 0;
  const Real* x = values.data();
  const std::size_t n = values.size();
#pragma omp simd reduction(+ : sum)
  for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

}  // namespace weft::trainer::optimizer

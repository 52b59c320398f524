#include "trainer/kernels/balance_loss.h"

#include <algorithm>

namespace weft::trainer::kernels {

namespace {

/// f of one sequence; marks is room for a row.
void shares_of_choices(const RouterShape& shape, const Real* scores, int tokens, Real* marks,
                       Real* f) {
  std::fill_n(f, shape.experts, Real(0));
  for (int t = 0; t < tokens; ++t, scores += shape.experts) {
    std::copy_n(scores, shape.experts, marks);
    for (int k = 0; k < shape.top_k; ++k) {
      Real* best = std::max_element(marks, marks + shape.experts);
      f[best - marks] += 1;
      *best = Real(-1);  // a sigmoid is never that low
    }
  }
  const double factor = static_cast<double>(shape.experts) / shape.top_k / std::max(tokens, 1);
  for (int e = 0; e < shape.experts; ++e) f[e] = static_cast<Real>(f[e] * factor);
}

/// Of one token: the sum of its scores, and of its scores times f.
struct Sums {
  double all = 0, weighted = 0;
};
Sums sums_of(const RouterShape& shape, const Real* scores, const Real* f) {
  Sums sums;
  for (int e = 0; e < shape.experts; ++e) {
    sums.all += scores[e];
    sums.weighted += static_cast<double>(scores[e]) * f[e];
  }
  sums.all += 1e-20;  // as where gate weights are normalised
  return sums;
}

/// Calls run(first token, tokens, f) for each sequence.
template <class Run>
void for_each_sequence(Context& context, const RouterShape& shape,
                       std::span<const std::int32_t> sequence_begin, const Real* scores,
                       const Run& run) {
  const auto experts = static_cast<std::size_t>(shape.experts);
  Real* marks = context.scratch(0, experts).data();
  Real* f = context.scratch(1, experts).data();
  for (std::size_t s = 0; s + 1 < sequence_begin.size(); ++s) {
    const std::ptrdiff_t first = sequence_begin[s];
    const int tokens = sequence_begin[s + 1] - sequence_begin[s];
    shares_of_choices(shape, scores + first * shape.experts, tokens, marks, f);
    run(first, tokens, f);
  }
}

}  // namespace

double balance_loss(Context& context, const RouterShape& shape,
                    std::span<const std::int32_t> sequence_begin, const Real* scores) {
  double total = 0;
  for_each_sequence(context, shape, sequence_begin, scores,
                    [&](std::ptrdiff_t first, int tokens, const Real* f) {
                      double sum = 0;
                      for (int t = 0; t < tokens; ++t) {
                        const Sums sums = sums_of(shape, scores + (first + t) * shape.experts, f);
                        sum += sums.weighted / sums.all;
                      }
                      if (tokens > 0) total += sum / tokens;
                    });
  return total;
}

void balance_loss_backward(Context& context, const RouterShape& shape,
                           std::span<const std::int32_t> sequence_begin, const Real* scores,
                           double weight, Real* d_logits) {
  for_each_sequence(
      context, shape, sequence_begin, scores,
      [&](std::ptrdiff_t first, int tokens, const Real* f) {
        for (int t = 0; t < tokens; ++t) {
          const Real* s = scores + (first + t) * shape.experts;
          Real* d = d_logits + (first + t) * shape.experts;
          const Sums sums = sums_of(shape, s, f);
          const double mean = sums.weighted / sums.all, factor = weight / tokens / sums.all;
          for (int e = 0; e < shape.experts; ++e) {
            d[e] += static_cast<Real>(factor * (f[e] - mean) * s[e] * (1.0 - s[e]));
          }
        }
      });
}

}  // namespace weft::trainer::kernels

#include <algorithm>
#include <limits>

#include "base/small_floats.h"
#include "trainer/kernels/router.h"
#include "trainer/kernels/vector_math.h"

namespace weft::trainer::kernels {

namespace {

constexpr Real kTaken = -std::numeric_limits<Real>::infinity();
// In place of NaN, which is never the largest: a token chooses distinct experts all the same, its
// weights are NaN, and the step is left out.
constexpr Real kUnordered = Real(-1e30);
constexpr Real kTiny =
    Real(1e-20);  // a sum of scores is never zero in practice; as in the original

Real best(const Real* values, int n) { return *std::max_element(values, values + n); }

Real best_two_sum(const Real* values, int n) {
  Real first = kTaken, second = kTaken;
  for (int i = 0; i < n; ++i) {
    if (values[i] > first) {
      second = first;
      first = values[i];
    } else if (values[i] > second) {
      second = values[i];
    }
  }
  return n == 1 ? first : first + second;
}

/// Index of the largest value, the lower one on ties.
int argmax(const Real* values, int n) {
  return static_cast<int>(std::max_element(values, values + n) - values);
}

/// Puts kTaken over the experts of every group but the best ones.
void close_groups(const RouterShape& shape, bool has_bias, Real* biased, Real* group_score) {
  if (shape.groups <= 1 || shape.top_groups >= shape.groups) return;
  const int size = shape.experts / shape.groups;
  for (int g = 0; g < shape.groups; ++g)
    group_score[g] =
        has_bias ? best_two_sum(biased + g * size, size) : best(biased + g * size, size);
  for (int n = 0; n < shape.top_groups; ++n) {
    group_score[argmax(group_score, shape.groups)] = kTaken;
  }
  for (int g = 0; g < shape.groups; ++g) {
    if (group_score[g] != kTaken) std::fill_n(biased + g * size, size, kTaken);
  }
}

/// One instance for both callers: the same bits.
[[gnu::noinline]] void score_row(const RouterShape& shape, const Real* logits, const Real* bias,
                                 Real* scores, Real* biased) {
#pragma omp simd
  for (int e = 0; e < shape.experts; ++e) {
    scores[e] = sigmoid(logits[e]);
    const Real value = scores[e] + (bias != nullptr ? bias[e] : Real(0));
    biased[e] = value == value ? value : kUnordered;
  }
}

[[gnu::noinline]] void weigh_row(const RouterShape& shape, const Real* scores,
                                 const std::int32_t* chosen, Real* weights) {
  Real sum = 0;
  for (int k = 0; k < shape.top_k; ++k) sum += scores[chosen[k]];
  const Real factor = shape.normalize ? shape.scaling / (sum + kTiny) : shape.scaling;
  for (int k = 0; k < shape.top_k; ++k) weights[k] = scores[chosen[k]] * factor;
}

}  // namespace

void router_forward(Context& context, const RouterShape& shape, const Real* logits,
                    const Real* bias, int rows, Real* scores, std::int32_t* chosen, Real* weights) {
  Real* biased = context.scratch(0, static_cast<std::size_t>(shape.experts)).data();
  Real* group_score = context.scratch(1, static_cast<std::size_t>(shape.groups)).data();
  for (int r = 0; r < rows; ++r) {
    score_row(shape, logits, bias, scores, biased);
    close_groups(shape, bias != nullptr, biased, group_score);
    for (int k = 0; k < shape.top_k; ++k) {
      chosen[k] = argmax(biased, shape.experts);
      biased[chosen[k]] = kTaken;
    }
    std::sort(chosen, chosen + shape.top_k);
    weigh_row(shape, scores, chosen, weights);
    logits += shape.experts;
    scores += shape.experts;
    chosen += shape.top_k;
    weights += shape.top_k;
  }
}

void router_again(Context& context, const RouterShape& shape, const Real* logits, const Real* bias,
                  int rows, Real* scores, const std::int32_t* chosen, Real* weights) {
  Real* biased = context.scratch(0, static_cast<std::size_t>(shape.experts)).data();
  for (int r = 0; r < rows; ++r) {
    score_row(shape, logits, bias, scores, biased);
    weigh_row(shape, scores, chosen, weights);
    logits += shape.experts;
    scores += shape.experts;
    chosen += shape.top_k;
    weights += shape.top_k;
  }
}

template <class Act>
void router_backward(Context&, const RouterShape& shape, const Real* d_weights, const Real* scores,
                     const std::int32_t* chosen, int rows, Act* d_logits) {
  for (int r = 0; r < rows; ++r) {
    std::fill_n(d_logits, shape.experts, Act(Real(0)));
    Real sum = kTiny, pull = 0;
    for (int k = 0; k < shape.top_k; ++k) sum += scores[chosen[k]];
    for (int k = 0; k < shape.top_k; ++k) pull += d_weights[k] * scores[chosen[k]] / sum;
    for (int k = 0; k < shape.top_k; ++k) {
      const Real s = scores[chosen[k]];
      const Real d_score = shape.normalize ? shape.scaling * (d_weights[k] - pull) / sum
                                           : shape.scaling * d_weights[k];
      d_logits[chosen[k]] = Act(d_score * s * (Real(1) - s));
    }
    d_weights += shape.top_k;
    scores += shape.experts;
    chosen += shape.top_k;
    d_logits += shape.experts;
  }
}

#define WEFT_INSTANTIATE(Act)                                                                \
  template void router_backward<Act>(Context&, const RouterShape&, const Real*, const Real*, \
                                     const std::int32_t*, int, Act*);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer::kernels

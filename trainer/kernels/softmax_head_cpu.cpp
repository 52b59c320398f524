#include <algorithm>

#include "base/small_floats.h"
#include "trainer/kernels/softmax_head.h"
#include "trainer/kernels/vector_math.h"

namespace weft::trainer::kernels {

void log_softmax_forward(Context&, const Real* logits, const std::int32_t* targets, int rows,
                         int vocab, Real* logprob, Real* entropy, Real* log_sum) {
  for (int r = 0; r < rows; ++r, logits += vocab) {
    Real largest = logits[0];
#pragma omp simd reduction(max : largest)
    for (int v = 0; v < vocab; ++v) largest = logits[v] > largest ? logits[v] : largest;
    Real sum = 0, weighted = 0;
#pragma omp simd reduction(+ : sum, weighted)
    for (int v = 0; v < vocab; ++v) {
      const Real shifted = logits[v] - largest;
      const Real e = vector_exp(shifted);
      sum += e;
      weighted += e * shifted;
    }
    const Real log_of_sum = std::log(sum);
    log_sum[r] = largest + log_of_sum;
    logprob[r] = logits[targets[r]] - largest - log_of_sum;
    entropy[r] = log_of_sum - weighted / sum;
  }
}

template <class Act>
void log_softmax_backward(Context&, const Real* logits, const std::int32_t* targets, int rows,
                          int vocab, const Real* log_sum, const Real* d_logprob, Act* d_logits) {
  for (int r = 0; r < rows; ++r, logits += vocab, d_logits += vocab) {
    const Real minus = -d_logprob[r], shift = log_sum[r];
    const Real at_target = minus * vector_exp(logits[targets[r]] - shift) + d_logprob[r];
#pragma omp simd
    for (int v = 0; v < vocab; ++v) d_logits[v] = Act(minus * vector_exp(logits[v] - shift));
    d_logits[targets[r]] = Act(at_target);
  }
}

#define WEFT_INSTANTIATE(Act)                                                                   \
  template void log_softmax_backward<Act>(Context&, const Real*, const std::int32_t*, int, int, \
                                          const Real*, const Real*, Act*);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer::kernels

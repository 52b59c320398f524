#include <cmath>

#include "trainer/kernels/lanes.h"
#include "trainer/kernels/parallel.h"
#include "trainer/kernels/softmax_head.h"

namespace weft::trainer::kernels {

void log_softmax_forward(Context& context, const Real* logits, const std::int32_t* targets,
                         int rows, int vocab, Real* logprob, Real* entropy, Real* log_sum) {
  parallel_rows(context, rows, vocab, [&](int first, int end) {
    for (std::ptrdiff_t r = first; r < end; ++r) {
      const Real* row = logits + r * vocab;
      Real largest = row[0];
#pragma omp simd reduction(max : largest)
      for (int v = 0; v < vocab; ++v) largest = row[v] > largest ? row[v] : largest;
      Real sum = 0, weighted = 0;
#pragma omp simd reduction(+ : sum, weighted)
      for (int v = 0; v < vocab; ++v) {
        const Real shifted = row[v] - largest;
        const Real e = vector_exp(shifted);
        sum += e;
        weighted += e * shifted;
      }
      const Real log_of_sum = std::log(sum);
      log_sum[r] = largest + log_of_sum;
      logprob[r] = row[targets[r]] - largest - log_of_sum;
      entropy[r] = log_of_sum - weighted / sum;
    }
  });
}

template <class Act>
void log_softmax_backward(Context& context, const Real* logits, const std::int32_t* targets,
                          int rows, int vocab, const Real* log_sum, const Real* d_logprob,
                          Act* d_logits) {
  parallel_rows(context, rows, vocab, [&](int first, int end) {
    for (std::ptrdiff_t r = first; r < end; ++r) {
      const Real* in = logits + r * vocab;
      Act* out = d_logits + r * vocab;
      const Real minus = -d_logprob[r], shift = log_sum[r];
      const Real at_target = minus * vector_exp(in[targets[r]] - shift) + d_logprob[r];
      over_lanes(vocab, [&](int i, auto n) {
        store(vector_exp(load(in + i, n) - shift) * minus, out + i, n);
      });
      out[targets[r]] = Act(at_target);
    }
  });
}

#define WEFT_INSTANTIATE(Act)                                                                   \
  template void log_softmax_backward<Act>(Context&, const Real*, const std::int32_t*, int, int, \
                                          const Real*, const Real*, Act*);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer::kernels

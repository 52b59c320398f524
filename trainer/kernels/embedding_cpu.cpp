#include <algorithm>

#include "trainer/kernels/embedding.h"

namespace weft::trainer::kernels {

void embedding_forward(Context&, const Real* table, const std::int32_t* tokens, int num_tokens,
                       int hidden, Real* y) {
  for (int t = 0; t < num_tokens; ++t, y += hidden) {
    std::copy_n(table + static_cast<std::ptrdiff_t>(tokens[t]) * hidden, hidden, y);
  }
}

void embedding_backward(Context&, const Real* dy, const std::int32_t* tokens, int num_tokens,
                        int hidden, Real* d_table) {
  for (int t = 0; t < num_tokens; ++t, dy += hidden) {
    Real* row = d_table + static_cast<std::ptrdiff_t>(tokens[t]) * hidden;
#pragma omp simd
    for (int i = 0; i < hidden; ++i) row[i] += dy[i];
  }
}

}  // namespace weft::trainer::kernels

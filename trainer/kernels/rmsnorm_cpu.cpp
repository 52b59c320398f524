#include <algorithm>
#include <cmath>

#include "trainer/kernels/lanes.h"
#include "trainer/kernels/parallel.h"
#include "trainer/kernels/rmsnorm.h"

namespace weft::trainer::kernels {

namespace {
constexpr int kRowsOfASum = 64;  // of d_weight: rows whose parts are added up first
}

template <class In, class Out>
void rmsnorm_forward(Context& context, const In* x, int ldx, const Real* weight, int rows, int dim,
                     Real epsilon, Out* y, Real* rstd) {
  parallel_rows(context, rows, dim, [&](int first, int end) {
    for (std::ptrdiff_t r = first; r < end; ++r) {
      const In* in = x + r * ldx;
      Vector squares = {};
      over_lanes(dim, [&](int i, auto n) {
        const Vector at = load(in + i, n);
        squares += at * at;
      });
      const Real mean = sum_of_lanes(squares) / static_cast<Real>(dim);
      const Real scale = Real(1) / std::sqrt(mean + epsilon);
      rstd[r] = scale;
      over_lanes(dim, [&](int i, auto n) {
        store(load(in + i, n) * scale * load(weight + i, n), y + r * dim + i, n);
      });
    }
  });
}

// With s = rstd, g = dy * weight: dx = s * (g - x * s^2 * mean(g x)). The weight's gradient is
// summed over blocks of rows and then over the blocks, whatever thread did which.
template <class DOut, class In, class DIn>
void rmsnorm_backward(Context& context, const DOut* dy, const In* x, int ldx, const Real* weight,
                      const Real* rstd, int rows, int dim, DIn* dx, int lddx, bool accumulate,
                      Real* d_weight) {
  const int blocks = (rows + kRowsOfASum - 1) / kRowsOfASum;
  Real* parts =
      context.scratch(0, static_cast<std::size_t>(blocks) * static_cast<std::size_t>(dim)).data();
  parallel_rows(context, blocks, kRowsOfASum * dim, [&](int first, int end) {
    for (int b = first; b < end; ++b) {
      Real* part = parts + static_cast<std::ptrdiff_t>(b) * dim;
      std::fill_n(part, dim, Real(0));
      const int last = std::min(rows, (b + 1) * kRowsOfASum);
      for (std::ptrdiff_t r = b * kRowsOfASum; r < last; ++r) {
        const DOut* d_row = dy + r * dim;
        const In* in = x + r * ldx;
        DIn* to = dx + r * lddx;
        const Real scale = rstd[r];
        Vector dot = {};
        over_lanes(dim, [&](int i, auto n) {
          const Vector scaled = load(d_row + i, n) * load(in + i, n);
          dot += scaled * load(weight + i, n);
          store(load(part + i, n) + scaled * scale, part + i, n);
        });
        const Real pull = sum_of_lanes(dot) * scale * scale * scale / static_cast<Real>(dim);
        over_lanes(dim, [&](int i, auto n) {
          Vector d = load(d_row + i, n) * load(weight + i, n) * scale - load(in + i, n) * pull;
          if (accumulate) d += load(to + i, n);
          store(d, to + i, n);
        });
      }
    }
  });
  for (int b = 0; b < blocks; ++b, parts += dim) {
#pragma omp simd
    for (int i = 0; i < dim; ++i) d_weight[i] += parts[i];
  }
}

#define WEFT_FORWARD(In, Out)                                                                   \
  template void rmsnorm_forward<In, Out>(Context&, const In*, int, const Real*, int, int, Real, \
                                         Out*, Real*);
#define WEFT_BACKWARD(DOut, In, DIn)                                                           \
  template void rmsnorm_backward<DOut, In, DIn>(Context&, const DOut*, const In*, int,         \
                                                const Real*, const Real*, int, int, DIn*, int, \
                                                bool, Real*);
WEFT_FORWARD(Real, Real)
WEFT_BACKWARD(Real, Real, Real)
#ifndef WEFT_REAL_DOUBLE
WEFT_FORWARD(Real, Bf16)
WEFT_FORWARD(Bf16, Bf16)
WEFT_BACKWARD(Bf16, Real, Real)
WEFT_BACKWARD(Real, Real, Bf16)
WEFT_BACKWARD(Bf16, Real, Bf16)
WEFT_BACKWARD(Real, Bf16, Bf16)
WEFT_BACKWARD(Bf16, Bf16, Bf16)
#endif

}  // namespace weft::trainer::kernels

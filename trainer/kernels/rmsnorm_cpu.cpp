#include "base/small_floats.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/kernels/vector_math.h"

namespace weft::trainer::kernels {

template <class In, class Out>
void rmsnorm_forward(Context&, const In* x, int ldx, const Real* weight, int rows, int dim,
                     Real epsilon, Out* y, Real* rstd) {
  for (int r = 0; r < rows; ++r, x += ldx, y += dim) {
    Real squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int i = 0; i < dim; ++i) squares += Real(x[i]) * Real(x[i]);
    const Real scale = Real(1) / std::sqrt(squares / static_cast<Real>(dim) + epsilon);
    rstd[r] = scale;
#pragma omp simd
    for (int i = 0; i < dim; ++i) y[i] = Out(Real(x[i]) * scale * weight[i]);
  }
}

// With s = rstd, g = dy * weight: dx = s * (g - x * s^2 * mean(g x)).
template <class DOut, class In, class DIn>
void rmsnorm_backward(Context&, const DOut* dy, const In* x, int ldx, const Real* weight,
                      const Real* rstd, int rows, int dim, DIn* dx, int lddx, bool accumulate,
                      Real* d_weight) {
  for (int r = 0; r < rows; ++r, x += ldx, dy += dim, dx += lddx) {
    const Real scale = rstd[r];
    Real dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int i = 0; i < dim; ++i) dot += Real(dy[i]) * weight[i] * Real(x[i]);
    const Real pull = dot * scale * scale * scale / static_cast<Real>(dim);
    const Real keep = accumulate ? Real(1) : Real(0);
#pragma omp simd
    for (int i = 0; i < dim; ++i) {
      const Real d = Real(dy[i]), at = Real(x[i]);
      const Real gradient = d * weight[i] * scale - at * pull;
      d_weight[i] += d * at * scale;
      dx[i] = DIn(keep != Real(0) ? Real(dx[i]) + gradient : gradient);
    }
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

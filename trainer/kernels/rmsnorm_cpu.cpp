#include "trainer/kernels/rmsnorm.h"
#include "trainer/kernels/vector_math.h"

namespace weft::trainer::kernels {

void rmsnorm_forward(Context&, const Real* x, int ldx, const Real* weight, int rows, int dim,
                     Real epsilon, Real* y, Real* rstd) {
  for (int r = 0; r < rows; ++r, x += ldx, y += dim) {
    Real squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int i = 0; i < dim; ++i) squares += x[i] * x[i];
    const Real scale = Real(1) / std::sqrt(squares / static_cast<Real>(dim) + epsilon);
    rstd[r] = scale;
#pragma omp simd
    for (int i = 0; i < dim; ++i) y[i] = x[i] * scale * weight[i];
  }
}

// With s = rstd, g = dy * weight: dx = s * (g - x * s^2 * mean(g x)).
void rmsnorm_backward(Context&, const Real* dy, const Real* x, int ldx, const Real* weight,
                      const Real* rstd, int rows, int dim, Real* dx, int lddx, bool accumulate,
                      Real* d_weight) {
  for (int r = 0; r < rows; ++r, x += ldx, dy += dim, dx += lddx) {
    const Real scale = rstd[r];
    Real dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int i = 0; i < dim; ++i) dot += dy[i] * weight[i] * x[i];
    const Real pull = dot * scale * scale * scale / static_cast<Real>(dim);
    const Real keep = accumulate ? Real(1) : Real(0);
#pragma omp simd
    for (int i = 0; i < dim; ++i) {
      const Real gradient = dy[i] * weight[i] * scale - x[i] * pull;
      d_weight[i] += dy[i] * x[i] * scale;
      dx[i] = keep != Real(0) ? dx[i] + gradient : gradient;
    }
  }
}

}  // namespace weft::trainer::kernels

// Root-mean-square normalisation of rows: y = x / sqrt(mean(x^2) + epsilon) * weight.
// Source: DeepSeek-V3 model.py, RMSNorm. A row's result depends on that row only.
#pragma once

#include "trainer/kernels/context.h"

namespace weft::trainer::kernels {

/// x: rows of `dim` elements, `ldx` apart; y: [rows, dim]. Leaves 1/sqrt(...) per row in `rstd`
/// for backward.
void rmsnorm_forward(Context& context, const Real* x, int ldx, const Real* weight, int rows,
                     int dim, Real epsilon, Real* y, Real* rstd);

/// dx (rows `lddx` apart): written, or added to with `accumulate`. d_weight [dim] is added to.
/// dy: [rows, dim]; x, rstd as in forward.
void rmsnorm_backward(Context& context, const Real* dy, const Real* x, int ldx, const Real* weight,
                      const Real* rstd, int rows, int dim, Real* dx, int lddx, bool accumulate,
                      Real* d_weight);

}  // namespace weft::trainer::kernels

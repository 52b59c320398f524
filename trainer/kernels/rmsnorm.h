// Root-mean-square normalisation of rows: y = x / sqrt(mean(x^2) + epsilon) * weight.
// Source: DeepSeek-V3 model.py, RMSNorm. A row's result depends on that row only.
// Rows are Real or Bf16, each operand as it is kept; computed in Real.
#pragma once

#include "trainer/kernels/context.h"

namespace weft::trainer::kernels {

/// x: rows of `dim` elements, `ldx` apart; y: [rows, dim]. Leaves 1/sqrt(...) per row in `rstd`
/// for backward.
template <class In, class Out>
void rmsnorm_forward(Context& context, const In* x, int ldx, const Real* weight, int rows, int dim,
                     Real epsilon, Out* y, Real* rstd);

/// dx (rows `lddx` apart): written, or added to with `accumulate`. d_weight [dim] is added to.
/// dy: [rows, dim]; x, rstd as in forward.
template <class DOut, class In, class DIn>
void rmsnorm_backward(Context& context, const DOut* dy, const In* x, int ldx, const Real* weight,
                      const Real* rstd, int rows, int dim, DIn* dx, int lddx, bool accumulate,
                      Real* d_weight);

}  // namespace weft::trainer::kernels

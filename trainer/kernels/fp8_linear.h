// The three products of a linear module in the FP8 recipe of DeepSeek-V3, as matmul.h has them in
// other numbers: W [out, in], y = x W^T.
//
//   forward           x   in 1 x 128 tiles along in,   W in 128 x 128 blocks
//   backward_input    dy  in 1 x 128 tiles along out,  the same blocks of W, transposed
//   backward_weight   dy and x in 128 x 1 tiles along the tokens, added to FP32 gradients
//
// Operands are quantised here, from whatever they are kept in; sums are those of fp8_product.h. In
// the first two a row of the result depends on its own row only, bit for bit. Weights are quantised
// once for each version. Not in the double build.
// Source: DeepSeek-V3 report, sections 3.3.1 and 3.3.2.
#pragma once

#include "trainer/kernels/fp8_tiles.h"
#include "trainer/kernels/matmul.h"

namespace weft::trainer::kernels {

/// y [m, out] = x [m, in] W^T, or += with `accumulate`. X, Y: float or Bf16. `scale`: of x; the
/// weight's scales are FP32.
template <class X, class Y>
void fp8_forward(Context& context, const X* x, int m, const Weight& weight, Fp8Scale scale, Y* y,
                 bool accumulate = false);

/// dx [m, in] = dy [m, out] W, or += with `accumulate`.
template <class X, class Y>
void fp8_backward_input(Context& context, const X* dy, int m, const Weight& weight, Fp8Scale scale,
                        Y* dx, bool accumulate = false);

/// dw [out, in] += dy [m, out]^T x [m, in]. D, X: float or Bf16.
template <class D, class X>
void fp8_backward_weight(Context& context, const D* dy, Fp8Scale dy_scale, const X* x,
                         Fp8Scale x_scale, int m, int out, int in, float* dw);

/// The same with x as its 1 x 128 tiles were kept by the forward pass: read as code * scale in
/// FP32, and from there to 128 x 1 tiles.
template <class D>
void fp8_backward_weight(Context& context, const D* dy, Fp8Scale dy_scale, const Fp8Rows& x,
                         Fp8Scale x_scale, int out, float* dw);

/// W as the products above read it: its blocks' codes times their scales. w: [out, in].
void fp8_dequantized(Context& context, const Weight& weight, float* w);

}  // namespace weft::trainer::kernels

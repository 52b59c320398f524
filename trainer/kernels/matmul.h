// Products of activations with weight matrices as Hugging Face stores them: W [out, in], row-major,
// y = x W^T. Float goes through oneDNN (matmul_dnnl.cpp), double through plain loops
// (matmul_f64.cpp).
//
// In the two products with a weight, a row of the result depends on its own row of the operand
// only, bit for bit, however many rows are asked for (kernels_matmul_test checks it). The weight
// gradient is a sum over rows, so it depends on how they are batched.
#pragma once

#include <cstdint>

#include "trainer/kernels/aligned.h"
#include "trainer/kernels/context.h"

namespace weft::trainer::kernels {

/// The library's own layout of one weight, made anew whenever the weight's version changed.
struct PackedCopy {
  AlignedVector storage;
  std::uint64_t version = 0;  // 0: none yet
};

/// A view of a weight matrix. `packed` belongs to this weight alone and outlives the view.
struct Weight {
  const Real* value = nullptr;
  int out = 0;
  int in = 0;
  std::uint64_t version = 1;  // of the values; never 0
  PackedCopy* packed = nullptr;
};

/// y [m, out] = x [m, in] W^T, or += with `accumulate`.
void linear_forward(Context& context, const Real* x, int m, const Weight& weight, Real* y,
                    bool accumulate = false);

/// dx [m, in] = dy [m, out] W, or += with `accumulate`.
void linear_backward_input(Context& context, const Real* dy, int m, const Weight& weight, Real* dx,
                           bool accumulate = false);

/// dw [out, in] += dy [m, out]^T x [m, in].
void linear_backward_weight(Context& context, const Real* dy, const Real* x, int m, int out, int in,
                            Real* dw);

}  // namespace weft::trainer::kernels

// Products of activations with weight matrices as Hugging Face stores them: W [out, in], row-major,
// y = x W^T. Float and BF16 go through oneDNN (matmul_dnnl.cpp), double through plain loops
// (matmul_f64.cpp).
//
// The type of the operand decides: BF16 rows are multiplied with the weight rounded to BF16, to
// nearest even, once for each version of it. Sums are F32 in any case.
//
// In the two products with a weight, a row of the result depends on its own row of the operand
// only, bit for bit, however many rows are asked for (kernels_matmul_test checks it). The weight
// gradient is a sum over rows, so it depends on how they are batched.
#pragma once

#include <cstdint>

#include "base/expected.h"
#include "base/small_floats.h"
#include "trainer/kernels/aligned.h"
#include "trainer/kernels/context.h"

namespace weft::trainer::kernels {

/// The library's own layouts of one weight, each made anew when it is asked for and the weight's
/// version has changed.
struct PackedCopy {
  struct Layout {
    AlignedBytes storage;
    std::uint64_t version = 0;  // 0: none yet
    std::uint8_t number = 0;    // size of its numbers
  };
  Layout forward, backward;
};

/// A view of a weight matrix. `packed` belongs to this weight alone and outlives the view.
struct Weight {
  const Real* value = nullptr;
  int out = 0;
  int in = 0;
  std::uint64_t version = 1;  // of the values; never 0
  PackedCopy* packed = nullptr;
};

/// y [m, out] = x [m, in] W^T, or += with `accumulate`. X, Y: Real, Real; Bf16, Real; Bf16, Bf16
/// without `accumulate`.
template <class X, class Y>
void linear_forward(Context& context, const X* x, int m, const Weight& weight, Y* y,
                    bool accumulate = false);

/// dx [m, in] = dy [m, out] W, or += with `accumulate`. Types as above.
template <class X, class Y>
void linear_backward_input(Context& context, const X* dy, int m, const Weight& weight, Y* dx,
                           bool accumulate = false);

/// dw [out, in] += dy [m, out]^T x [m, in]. X: Real or Bf16.
template <class X>
void linear_backward_weight(Context& context, const X* dy, const X* x, int m, int out, int in,
                            Real* dw);

/// Do BF16 products run on this processor? Errors: Unsupported, with what is missing.
Expected<void> check_bf16_products();

}  // namespace weft::trainer::kernels

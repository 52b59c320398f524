// The one way from a module of the model to a product with its weight. A module names itself by the
// kind of its weight; which numbers the product is made of follows from that and from the stage's
// precision, here and nowhere else.
#pragma once

#include <cstdint>

#include "trainer/kernels/fp8_tiles.h"
#include "trainer/kernels/matmul.h"
#include "trainer/model/fp8_recipe.h"
#include "trainer/model/linear_kind.h"
#include "trainer/model/parameters.h"
#include "trainer/model/precision.h"

namespace weft::trainer {

/// What both operands of a product are rounded to. The sum is always F32.
enum class Operands : std::uint8_t { F32, BF16, E4M3 };

/// The gate stays in F32 whatever the precision: its choices are not differentiable, and its
/// product is small. FP8: is_fp8_module. Source: DeepSeek-V3 report, section 3.3.1.
Operands operands_of(LinearKind kind, Precision precision);

/// A matrix of the parameter set with the library's copies of it. Gate and up projections lie one
/// behind the other, so that they are also one matrix [2 * width, hidden].
struct Matrix {
  LinearKind kind = LinearKind::QDown;
  int out = 0;
  int in = 0;
  std::int64_t offset = -1;
  kernels::PackedCopy packed;
  kernels::PackedCopy::Layout dequantized;  // Linear::seen
};

/// Products with the weights of one parameter set. X, Y, D: Real or Bf16, as the caller keeps them;
/// an operand that is kept otherwise than the product wants it is rounded (or widened) into
/// scratch. Scratch slots of the context: kLinearScratch and the next. Threads: as of the context
/// and of the matrix, each in one thread at a time.
class Linear {
 public:
  static constexpr int kLinearScratch = 24;

  /// The set must outlive this.
  Linear(ParameterSet& set, Precision precision, const Fp8Options& fp8 = {})
      : set_(set), precision_(precision), fp8_(fp8) {}
  Precision precision() const { return precision_; }
  const Fp8Options& fp8() const { return fp8_; }

  /// y [rows, out] = x [rows, in] W^T, or += with `accumulate` (Y = Real only).
  template <class X, class Y>
  void forward(kernels::Context& context, Matrix& matrix, const X* x, int rows, Y* y,
               bool accumulate = false) const;
  /// dx [rows, in] = dy [rows, out] W, or += with `accumulate` (Y = Real only).
  template <class D, class Y>
  void backward_input(kernels::Context& context, Matrix& matrix, const D* dy, int rows, Y* dx,
                      bool accumulate = false) const;
  /// The matrix's gradient += dy [rows, out]^T x [rows, in].
  template <class D, class X>
  void backward_weight(kernels::Context& context, const Matrix& matrix, const D* dy, const X* x,
                       int rows) const;
  /// The same with x as FP8 kept it: the tiles of the forward pass.
  template <class D>
  void backward_weight(kernels::Context& context, const Matrix& matrix, const D* dy,
                       const kernels::Fp8Rows& x) const;

  /// The weight as the products read it, for an operation that is no such product: with FP8 what
  /// its codes stand for, made once a version, else the master weight.
  const Real* seen(kernels::Context& context, Matrix& matrix) const;

 private:
  kernels::Weight weight(Matrix& matrix) const {
    return {set_.values_data() + matrix.offset, matrix.out, matrix.in, set_.version(),
            &matrix.packed};
  }

  ParameterSet& set_;
  Precision precision_;
  Fp8Options fp8_;
};

}  // namespace weft::trainer

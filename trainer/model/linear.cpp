#include "trainer/model/linear.h"

#include <type_traits>

#include "base/check.h"
#include "trainer/kernels/convert.h"
#include "trainer/kernels/fp8_linear.h"

namespace weft::trainer {

Operands operands_of(LinearKind kind, Precision precision) {
  if (precision == Precision::F32 || kind == LinearKind::Gate || kind == LinearKind::Embedding) {
    return Operands::F32;
  }
  if (precision == Precision::FP8 && is_fp8_module(kind)) return Operands::E4M3;
  return Operands::BF16;
}

namespace {

constexpr bool kHasFp8 = std::is_same_v<Real, float>;

/// The operand as numbers of type To: itself, or a converted copy in scratch.
template <class To, class From>
const To* as(kernels::Context& context, int slot, const From* x, int rows, int columns) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else {
    const auto n = static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
    To* copy = context.scratch<To>(Linear::kLinearScratch + slot, n).data();
    kernels::convert(x, n, copy);
    return copy;
  }
}

/// run(To{}) with the type that the product is made of. A result in BF16 comes of BF16 operands.
template <class Result, class Run>
void with_operands(LinearKind kind, Precision precision, const Run& run) {
#ifdef WEFT_REAL_DOUBLE
  WEFT_CHECK(operands_of(kind, precision) == Operands::F32);
  run(Real{});
#else
  if (operands_of(kind, precision) == Operands::BF16) {
    run(Bf16{});
  } else if constexpr (std::is_same_v<Result, Real>) {
    run(Real{});
  } else {
    WEFT_CHECK(false, "an F32 product with a result in BF16");
  }
#endif
}

}  // namespace

template <class X, class Y>
void Linear::forward(kernels::Context& context, Matrix& matrix, const X* x, int rows, Y* y,
                     bool accumulate) const {
  if constexpr (kHasFp8) {
    if (operands_of(matrix.kind, precision_) == Operands::E4M3) {
      kernels::fp8_forward(context, x, rows, weight(matrix), input_scale(matrix.kind, fp8_), y,
                           accumulate);
      return;
    }
  }
  with_operands<Y>(matrix.kind, precision_, [&](auto number) {
    const auto* operand = as<decltype(number)>(context, 0, x, rows, matrix.in);
    kernels::linear_forward(context, operand, rows, weight(matrix), y, accumulate);
  });
}

template <class D, class Y>
void Linear::backward_input(kernels::Context& context, Matrix& matrix, const D* dy, int rows, Y* dx,
                            bool accumulate) const {
  if constexpr (kHasFp8) {
    if (operands_of(matrix.kind, precision_) == Operands::E4M3) {
      kernels::fp8_backward_input(context, dy, rows, weight(matrix),
                                  gradient_scale(matrix.kind, fp8_), dx, accumulate);
      return;
    }
  }
  with_operands<Y>(matrix.kind, precision_, [&](auto number) {
    const auto* operand = as<decltype(number)>(context, 0, dy, rows, matrix.out);
    kernels::linear_backward_input(context, operand, rows, weight(matrix), dx, accumulate);
  });
}

template <class D, class X>
void Linear::backward_weight(kernels::Context& context, const Matrix& matrix, const D* dy,
                             const X* x, int rows) const {
  if constexpr (kHasFp8) {
    if (operands_of(matrix.kind, precision_) == Operands::E4M3) {
      const kernels::Fp8Scale scale = input_scale(matrix.kind, fp8_);
      if (gradient_reads_forward_tiles(matrix.kind)) {
        const auto n = static_cast<std::size_t>(rows);
        auto* codes =
            context.scratch<std::uint8_t>(kLinearScratch, n * static_cast<std::size_t>(matrix.in))
                .data();
        auto* scales =
            context
                .scratch<float>(kLinearScratch + 1,
                                n * static_cast<std::size_t>(kernels::fp8_tiles(matrix.in)))
                .data();
        kernels::quantize_rows(x, rows, matrix.in, scale, codes, scales);
        backward_weight(context, matrix, dy, {codes, scales, rows, matrix.in});
        return;
      }
      kernels::fp8_backward_weight(context, dy, gradient_scale(matrix.kind, fp8_), x, scale, rows,
                                   matrix.out, matrix.in, set_.gradients().data() + matrix.offset);
      return;
    }
  }
  with_operands<Real>(matrix.kind, precision_, [&](auto number) {
    const auto* left = as<decltype(number)>(context, 0, dy, rows, matrix.out);
    const auto* right = as<decltype(number)>(context, 1, x, rows, matrix.in);
    kernels::linear_backward_weight(context, left, right, rows, matrix.out, matrix.in,
                                    set_.gradients().data() + matrix.offset);
  });
}

template <class D>
void Linear::backward_weight(kernels::Context& context, const Matrix& matrix, const D* dy,
                             const kernels::Fp8Rows& x) const {
  WEFT_CHECK(operands_of(matrix.kind, precision_) == Operands::E4M3);
  if constexpr (kHasFp8) {
    kernels::fp8_backward_weight(context, dy, gradient_scale(matrix.kind, fp8_), x,
                                 input_scale(matrix.kind, fp8_), matrix.out,
                                 set_.gradients().data() + matrix.offset);
  }
}

const Real* Linear::seen(kernels::Context& context, Matrix& matrix) const {
  if constexpr (kHasFp8) {
    if (operands_of(matrix.kind, precision_) == Operands::E4M3) {
      kernels::PackedCopy::Layout& copy = matrix.dequantized;
      if (copy.version != set_.version()) {
        copy.storage.resize(sizeof(Real) * static_cast<std::size_t>(matrix.out) *
                            static_cast<std::size_t>(matrix.in));
        kernels::fp8_dequantized(context, weight(matrix),
                                 reinterpret_cast<float*>(copy.storage.data()));
        copy.version = set_.version();
      }
      return reinterpret_cast<const Real*>(copy.storage.data());
    }
  }
  return set_.values_data() + matrix.offset;
}

#define WEFT_INSTANTIATE(A, B)                                                                     \
  template void Linear::forward(kernels::Context&, Matrix&, const A*, int, B*, bool) const;        \
  template void Linear::backward_input(kernels::Context&, Matrix&, const A*, int, B*, bool) const; \
  template void Linear::backward_weight(kernels::Context&, const Matrix&, const A*, const B*, int) \
      const;
WEFT_INSTANTIATE(Real, Real)
template void Linear::backward_weight(kernels::Context&, const Matrix&, const Real*,
                                      const kernels::Fp8Rows&) const;
#ifndef WEFT_REAL_DOUBLE
template void Linear::backward_weight(kernels::Context&, const Matrix&, const Bf16*,
                                      const kernels::Fp8Rows&) const;
WEFT_INSTANTIATE(Real, Bf16)
WEFT_INSTANTIATE(Bf16, Real)
WEFT_INSTANTIATE(Bf16, Bf16)
#endif

}  // namespace weft::trainer

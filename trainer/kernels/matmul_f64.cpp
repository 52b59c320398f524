// The double build's products: plain loops, for finite differences at small sizes.
#include "trainer/kernels/matmul.h"

namespace weft::trainer::kernels {

struct Context::Products {};
Context::Products& Context::products() {
  if (!products_) products_ = std::make_shared<Products>();
  return *products_;
}

template <>
void linear_forward(Context&, const Real* x, int m, const Weight& weight, Real* y,
                    bool accumulate) {
  for (int i = 0; i < m; ++i) {
    for (int o = 0; o < weight.out; ++o) {
      Real sum = 0;
      for (int k = 0; k < weight.in; ++k)
        sum += x[i * weight.in + k] * weight.value[o * weight.in + k];
      Real& result = y[i * weight.out + o];
      result = accumulate ? result + sum : sum;
    }
  }
}

template <>
void linear_backward_input(Context&, const Real* dy, int m, const Weight& weight, Real* dx,
                           bool accumulate) {
  for (int i = 0; i < m; ++i) {
    for (int k = 0; k < weight.in; ++k) {
      Real sum = 0;
      for (int o = 0; o < weight.out; ++o) {
        sum += dy[i * weight.out + o] * weight.value[o * weight.in + k];
      }
      Real& result = dx[i * weight.in + k];
      result = accumulate ? result + sum : sum;
    }
  }
}

template <>
void linear_backward_weight(Context&, const Real* dy, const Real* x, int m, int out, int in,
                            Real* dw) {
  for (int o = 0; o < out; ++o) {
    for (int k = 0; k < in; ++k) {
      Real sum = 0;
      for (int i = 0; i < m; ++i) sum += dy[i * out + o] * x[i * in + k];
      dw[o * in + k] += sum;
    }
  }
}

Expected<void> check_bf16_products() {
  return fail(Code::Unsupported, "the double build computes in double only");
}

}  // namespace weft::trainer::kernels

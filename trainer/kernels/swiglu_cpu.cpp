#include "trainer/kernels/lanes.h"
#include "trainer/kernels/parallel.h"
#include "trainer/kernels/swiglu.h"

namespace weft::trainer::kernels {

template <class Act>
void swiglu_forward(Context& context, const Act* gate_up, int rows, int width, Act* act) {
  parallel_rows(context, rows, 2 * width, [&](int first, int end) {
    for (std::ptrdiff_t r = first; r < end; ++r) {
      const Act* gate = gate_up + r * 2 * width;
      over_lanes(width, [&](int i, auto n) {
        const Vector g = load(gate + i, n);
        store(g * sigmoid(g) * load(gate + width + i, n), act + r * width + i, n);
      });
    }
  });
}

template <class Act>
void swiglu_backward(Context& context, const Act* d_act, const Act* gate_up, int rows, int width,
                     Act* d_gate_up) {
  parallel_rows(context, rows, 4 * width, [&](int first, int end) {
    for (std::ptrdiff_t r = first; r < end; ++r) {
      const Act* gate = gate_up + r * 2 * width;
      Act* d_gate = d_gate_up + r * 2 * width;
      over_lanes(width, [&](int i, auto n) {
        const Vector g = load(gate + i, n), d = load(d_act + r * width + i, n);
        const Vector s = sigmoid(g);
        const Vector silu = g * s;
        const Vector slope = s + silu * (Real(1) - s);
        store(d * silu, d_gate + width + i, n);
        store(d * load(gate + width + i, n) * slope, d_gate + i, n);
      });
    }
  });
}

#define WEFT_INSTANTIATE(Act)                                              \
  template void swiglu_forward<Act>(Context&, const Act*, int, int, Act*); \
  template void swiglu_backward<Act>(Context&, const Act*, const Act*, int, int, Act*);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer::kernels

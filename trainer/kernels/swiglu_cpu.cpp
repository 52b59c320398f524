#include "base/small_floats.h"
#include "trainer/kernels/swiglu.h"
#include "trainer/kernels/vector_math.h"

namespace weft::trainer::kernels {

template <class Act>
void swiglu_forward(Context&, const Act* gate_up, int rows, int width, Act* act) {
  for (int r = 0; r < rows; ++r, gate_up += 2 * width, act += width) {
    const Act* gate = gate_up;
    const Act* up = gate_up + width;
#pragma omp simd
    for (int i = 0; i < width; ++i) {
      const Real g = Real(gate[i]);
      act[i] = Act(g * sigmoid(g) * Real(up[i]));
    }
  }
}

template <class Act>
void swiglu_backward(Context&, const Act* d_act, const Act* gate_up, int rows, int width,
                     Act* d_gate_up) {
  for (int r = 0; r < rows; ++r, gate_up += 2 * width, d_act += width, d_gate_up += 2 * width) {
    const Act* gate = gate_up;
    const Act* up = gate_up + width;
    Act* d_gate = d_gate_up;
    Act* d_up = d_gate_up + width;
#pragma omp simd
    for (int i = 0; i < width; ++i) {
      const Real g = Real(gate[i]), d = Real(d_act[i]);
      const Real s = sigmoid(g);
      const Real silu = g * s;
      d_up[i] = Act(d * silu);
      d_gate[i] = Act(d * Real(up[i]) * (s + silu * (Real(1) - s)));
    }
  }
}

#define WEFT_INSTANTIATE(Act)                                              \
  template void swiglu_forward<Act>(Context&, const Act*, int, int, Act*); \
  template void swiglu_backward<Act>(Context&, const Act*, const Act*, int, int, Act*);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer::kernels

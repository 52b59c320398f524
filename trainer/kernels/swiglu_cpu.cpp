#include "trainer/kernels/swiglu.h"
#include "trainer/kernels/vector_math.h"

namespace weft::trainer::kernels {

void swiglu_forward(Context&, const Real* gate_up, int rows, int width, Real* act) {
  for (int r = 0; r < rows; ++r, gate_up += 2 * width, act += width) {
    const Real* gate = gate_up;
    const Real* up = gate_up + width;
#pragma omp simd
    for (int i = 0; i < width; ++i) act[i] = gate[i] * sigmoid(gate[i]) * up[i];
  }
}

void swiglu_backward(Context&, const Real* d_act, const Real* gate_up, int rows, int width,
                     Real* d_gate_up) {
  for (int r = 0; r < rows; ++r, gate_up += 2 * width, d_act += width, d_gate_up += 2 * width) {
    const Real* gate = gate_up;
    const Real* up = gate_up + width;
    Real* d_gate = d_gate_up;
    Real* d_up = d_gate_up + width;
#pragma omp simd
    for (int i = 0; i < width; ++i) {
      const Real s = sigmoid(gate[i]);
      const Real silu = gate[i] * s;
      d_up[i] = d_act[i] * silu;
      d_gate[i] = d_act[i] * up[i] * (s + silu * (Real(1) - s));
    }
  }
}

}  // namespace weft::trainer::kernels

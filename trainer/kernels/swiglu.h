// act = silu(gate) * up, with gate and up side by side as one product leaves them.
#pragma once

#include "trainer/kernels/context.h"

namespace weft::trainer::kernels {

/// gate_up: [rows, 2 * width], gate first; act: [rows, width].
void swiglu_forward(Context& context, const Real* gate_up, int rows, int width, Real* act);

/// d_gate_up: [rows, 2 * width], overwritten; may not alias the operands.
void swiglu_backward(Context& context, const Real* d_act, const Real* gate_up, int rows, int width,
                     Real* d_gate_up);

}  // namespace weft::trainer::kernels

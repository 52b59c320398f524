// act = silu(gate) * up, with gate and up side by side as one product leaves them. Act: Real or
// Bf16 (base/small_floats.h); computed in Real.
#pragma once

#include "trainer/kernels/context.h"

namespace weft::trainer::kernels {

/// gate_up: [rows, 2 * width], gate first; act: [rows, width].
template <class Act>
void swiglu_forward(Context& context, const Act* gate_up, int rows, int width, Act* act);

/// d_gate_up: [rows, 2 * width], overwritten; may not alias the operands.
template <class Act>
void swiglu_backward(Context& context, const Act* d_act, const Act* gate_up, int rows, int width,
                     Act* d_gate_up);

}  // namespace weft::trainer::kernels

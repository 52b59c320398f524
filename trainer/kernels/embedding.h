// Rows of a table by token, and their gradients back.
#pragma once

#include <cstdint>

#include "trainer/kernels/context.h"

namespace weft::trainer::kernels {

/// y [num_tokens, hidden] = table[tokens[t]]. Tokens must lie inside the table.
void embedding_forward(Context& context, const Real* table, const std::int32_t* tokens,
                       int num_tokens, int hidden, Real* y);

/// d_table[tokens[t]] += dy[t], tokens in order.
void embedding_backward(Context& context, const Real* dy, const std::int32_t* tokens,
                        int num_tokens, int hidden, Real* d_table);

}  // namespace weft::trainer::kernels

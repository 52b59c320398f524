// Rotary positions over pairs (i, i + dim / 2), as llama and qwen have them.
#pragma once

#include <cstdint>

#include "trainer/kernels/rope.h"

namespace weft::trainer::kernels {

/// As rope (rope.h), but for the pairing. x: [rows, heads, table.dim].
template <class Act>
void rope_halves(Context& context, const RopeTable& table, const std::int32_t* positions, int rows,
                 int heads, Act* x, bool inverse = false);

}  // namespace weft::trainer::kernels

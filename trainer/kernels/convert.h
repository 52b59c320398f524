// Rows from one number type into another.
#pragma once

#include <cstddef>

#include "base/small_floats.h"
#include "trainer/real.h"

namespace weft::trainer::kernels {

/// to[i] = from[i], to BF16 rounded to nearest even. Real and Bf16 in any combination; the two may
/// not overlap.
template <class From, class To>
void convert(const From* from, std::size_t n, To* to);

}  // namespace weft::trainer::kernels

#include <algorithm>
#include <type_traits>

#include "trainer/kernels/convert.h"

namespace weft::trainer::kernels {

template <class From, class To>
void convert(const From* from, std::size_t n, To* to) {
  if constexpr (std::is_same_v<From, To>) {
    std::copy_n(from, n, to);
  } else {
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i) to[i] = To(static_cast<float>(from[i]));
  }
}

template void convert(const Real*, std::size_t, Real*);
#ifndef WEFT_REAL_DOUBLE
template void convert(const Real*, std::size_t, Bf16*);
template void convert(const Bf16*, std::size_t, Real*);
template void convert(const Bf16*, std::size_t, Bf16*);
#endif

}  // namespace weft::trainer::kernels

#include <algorithm>
#include <type_traits>

#include "trainer/kernels/convert.h"
#include "trainer/kernels/lanes.h"

namespace weft::trainer::kernels {

template <class From, class To>
void convert(const From* from, std::size_t n, To* to) {
  if constexpr (std::is_same_v<From, To>) {
    std::copy_n(from, n, to);
  } else {
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store(load(from + i, Whole{}), to + i, Whole{});
    const int left = static_cast<int>(n - i);
    if (left > 0) store(load(from + i, left), to + i, left);
  }
}

template void convert(const Real*, std::size_t, Real*);
#ifndef WEFT_REAL_DOUBLE
template void convert(const Real*, std::size_t, Bf16*);
template void convert(const Bf16*, std::size_t, Real*);
template void convert(const Bf16*, std::size_t, Bf16*);
#endif

}  // namespace weft::trainer::kernels

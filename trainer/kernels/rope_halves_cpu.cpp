#include "base/check.h"
#include "base/small_floats.h"
#include "trainer/kernels/rope_halves.h"
#include "trainer/kernels/vector_math.h"

namespace weft::trainer::kernels {

template <class Act>
void rope_halves(Context&, const RopeTable& table, const std::int32_t* positions, int rows,
                 int heads, Act* x, bool inverse) {
  const int half = table.dim / 2;
  const Real sign = inverse ? Real(-1) : Real(1);
  for (int r = 0; r < rows; ++r) {
    WEFT_CHECK(positions[r] >= 0 && positions[r] < table.max_position,
               "position " + std::to_string(positions[r]) + " outside the rotary table");
    const Real* cos = table.cos.data() + static_cast<std::ptrdiff_t>(positions[r]) * half;
    const Real* sin = table.sin.data() + static_cast<std::ptrdiff_t>(positions[r]) * half;
    for (int h = 0; h < heads; ++h, x += table.dim) {
      Act* low = x;
      Act* high = x + half;
#pragma omp simd
      for (int i = 0; i < half; ++i) {
        const Real a = Real(low[i]), b = Real(high[i]);
        low[i] = Act(a * cos[i] - sign * b * sin[i]);
        high[i] = Act(b * cos[i] + sign * a * sin[i]);
      }
    }
  }
}

#define WEFT_INSTANTIATE(Act)                                                                     \
  template void rope_halves<Act>(Context&, const RopeTable&, const std::int32_t*, int, int, Act*, \
                                 bool);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer::kernels

#include <cmath>

#include "base/check.h"
#include "base/small_floats.h"
#include "trainer/kernels/parallel.h"
#include "trainer/kernels/rope.h"
#include "trainer/kernels/vector_math.h"

namespace weft::trainer::kernels {

namespace {
std::vector<double> powers(double theta, int dim) {
  std::vector<double> out;
  for (int i = 0; i < dim / 2; ++i) out.push_back(std::pow(theta, -2.0 * i / dim));
  return out;
}
}  // namespace

RopeTable::RopeTable(double theta, int dim_in, int max_position_in)
    : RopeTable(powers(theta, dim_in), max_position_in) {}

RopeTable::RopeTable(std::span<const double> frequency, int max_position_in, double scale)
    : dim(2 * static_cast<int>(frequency.size())), max_position(max_position_in) {
  cos.reserve(static_cast<std::size_t>(max_position) * frequency.size());
  sin.reserve(cos.capacity());
  for (int p = 0; p < max_position; ++p) {
    for (const double turn : frequency) {
      cos.push_back(static_cast<Real>(scale * std::cos(p * turn)));
      sin.push_back(static_cast<Real>(scale * std::sin(p * turn)));
    }
  }
}

template <class Act>
void rope(Context& context, const RopeTable& table, const std::int32_t* positions, int rows,
          int heads, Act* x, int ld, int ld_head, bool inverse) {
  const int half = table.dim / 2;
  const Real sign = inverse ? Real(-1) : Real(1);
  parallel_rows(context, rows, heads * ld_head, [&](int first, int end) {
    for (int r = first; r < end; ++r) {
      WEFT_CHECK(positions[r] >= 0 && positions[r] < table.max_position,
                 "position " + std::to_string(positions[r]) + " outside the rotary table");
      const Real* cos = table.cos.data() + static_cast<std::ptrdiff_t>(positions[r]) * half;
      const Real* sin = table.sin.data() + static_cast<std::ptrdiff_t>(positions[r]) * half;
      for (int h = 0; h < heads; ++h) {
        Act* v = x + static_cast<std::ptrdiff_t>(r) * ld + static_cast<std::ptrdiff_t>(h) * ld_head;
        for (int i = 0; i < half; ++i) {
          const Real a = Real(v[2 * i]), b = Real(v[2 * i + 1]);
          v[2 * i] = Act(a * cos[i] - sign * b * sin[i]);
          v[2 * i + 1] = Act(b * cos[i] + sign * a * sin[i]);
        }
      }
    }
  });
}

#define WEFT_INSTANTIATE(Act)                                                                   \
  template void rope<Act>(Context&, const RopeTable&, const std::int32_t*, int, int, Act*, int, \
                          int, bool);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer::kernels

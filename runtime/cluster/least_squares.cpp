#include "runtime/cluster/least_squares.h"

#include <algorithm>

namespace weft::runtime {

std::vector<double> least_squares(const std::vector<Observation>& observations,
                                  const std::vector<double>& least) {
  constexpr int kSweeps = 20'000;
  const std::size_t count = least.size();
  std::vector<double> products(count * count), sums(count), x = least;
  for (const Observation& one : observations)
    for (std::size_t k = 0; k < count; ++k) {
      const double column = one.weight * one.weight * one.work[k];
      sums[k] += column * one.value;
      for (std::size_t j = 0; j < count; ++j) products[k * count + j] += column * one.work[j];
    }
  for (int sweep = 0; sweep < kSweeps; ++sweep)
    for (std::size_t k = 0; k < count; ++k) {
      double rest = sums[k];
      for (std::size_t j = 0; j < count; ++j)
        if (j != k) rest -= products[k * count + j] * x[j];
      const double own = products[k * count + k];
      if (own > 0) x[k] = std::max(least[k], rest / own);
    }
  return x;
}

}  // namespace weft::runtime

// Least squares over unknowns that have a lower bound. Pure.
#pragma once

#include <vector>

namespace weft::runtime {

/// One observation: the sum of work[k] * x[k] should be `value`.
struct Observation {
  std::vector<double> work;
  double value = 0;
  double weight = 1;  // of its error, before it is squared; 1 / value for relative errors
};

/// x of least squares with x[k] >= least[k], one unknown at a time in turn. An unknown that no
/// observation speaks of stays at its bound.
std::vector<double> least_squares(const std::vector<Observation>& observations,
                                  const std::vector<double>& least);

}  // namespace weft::runtime

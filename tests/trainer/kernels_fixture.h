// Random operands and comparison, for kernel tests.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/rng.h"
#include "trainer/kernels/context.h"

namespace weft::trainer::kernels {

inline std::vector<Real> random_values(std::size_t n, std::uint64_t seed, double scale = 1.0) {
  Rng rng(seed, "values");
  std::vector<Real> out(n);
  for (Real& x : out) x = static_cast<Real>(scale * rng.normal());
  return out;
}

/// |got - want| <= tolerance * (1 + |want|) for every element.
template <class Got, class Want>
void expect_close(const Got& got, const Want& want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const auto g = static_cast<double>(got[i]), w = static_cast<double>(want[i]);
    ASSERT_LE(std::abs(g - w), tolerance * (1 + std::abs(w)))
        << what << ", element " << i << ": " << g << " instead of " << w;
  }
}

}  // namespace weft::trainer::kernels

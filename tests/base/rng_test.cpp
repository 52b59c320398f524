#include "base/rng.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace weft {
namespace {

TEST(Rng, SameKeyGivesTheSameDraws) {
  Rng a(7, "sample", 1, 2, 3), b(7, "sample", 1, 2, 3);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.next_u32(), b.next_u32());
}

TEST(Rng, EveryPartOfTheKeyMatters) {
  std::set<std::uint64_t> first;
  first.insert(Rng(7, "sample", 1, 2, 3).next_u64());
  first.insert(Rng(8, "sample", 1, 2, 3).next_u64());
  first.insert(Rng(7, "init", 1, 2, 3).next_u64());
  first.insert(Rng(7, "sample", 2, 1, 3).next_u64());
  first.insert(Rng(7, "sample", 1, 3, 2).next_u64());
  first.insert(Rng(7, "sample", 1, 2, 4).next_u64());
  EXPECT_EQ(first.size(), 6u);
}

TEST(Rng, UniformAndNormalHaveTheirMoments) {
  Rng rng(1, "moments");
  double sum = 0, normal_sum = 0, normal_squares = 0;
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) {
    const double u = rng.uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    const double z = rng.normal();
    normal_sum += z;
    normal_squares += z * z;
  }
  // Five standard errors of each mean.
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * std::sqrt(1.0 / 12 / kDraws));
  EXPECT_NEAR(normal_sum / kDraws, 0.0, 5 / std::sqrt(kDraws));
  EXPECT_NEAR(normal_squares / kDraws, 1.0, 5 * std::sqrt(2.0 / kDraws));
}

TEST(Rng, BelowReachesEveryValueAndNoOther) {
  Rng rng(1, "below");
  std::set<std::uint32_t> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::uint32_t draw = rng.below(7);
    ASSERT_LT(draw, 7u);
    seen.insert(draw);
  }
  EXPECT_EQ(seen.size(), 7u);
}

}  // namespace
}  // namespace weft

// Redundant experts: own experts stay, copies of busy ones come beside them.
#include "scheduler/balance/redundant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/rng.h"

namespace weft::scheduler {
namespace {

using testing::HasSubstr;

std::vector<double> skewed(int experts, std::uint64_t seed) {
  Rng rng(seed, "skewed loads");
  std::vector<double> load(static_cast<std::size_t>(experts));
  for (double& l : load) l = std::floor(1000 * std::exp(1.2 * rng.normal()));
  return load;
}

TEST(Redundant, KeepsEveryExpertAtHomeAndPutsNoneTwiceOnAGpu) {
  for (const ExpertGrid& grid :
       {ExpertGrid{8, 12, 1, 1, 4}, ExpertGrid{8, 16, 1, 1, 2}, ExpertGrid{64, 72, 8, 2, 8},
        ExpertGrid{6, 6, 1, 1, 3}, ExpertGrid{4, 4, 1, 1, 1}})
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const auto load = skewed(grid.experts, seed);
      const auto layer = redundant_layer(load, grid);
      ASSERT_TRUE(layer) << layer.error().message;
      std::vector<double> share(static_cast<std::size_t>(grid.experts), 0.0);
      const int own = grid.experts / grid.gpus;
      for (int gpu = 0; gpu < grid.gpus; ++gpu) {
        std::set<int> here;
        for (int i = 0; i < grid.slots_per_gpu(); ++i) {
          const auto slot = static_cast<std::size_t>(gpu * grid.slots_per_gpu() + i);
          const int e = layer->expert_of[slot];
          if (i < own) {
            EXPECT_EQ(e, gpu * own + i);
          }
          if (e == kEmptySlot) continue;
          EXPECT_TRUE(here.insert(e).second) << "expert " << e << " twice on GPU " << gpu;
          EXPECT_GE(layer->share_of[slot], 0);
          share[static_cast<std::size_t>(e)] += layer->share_of[slot];
        }
      }
      for (const double s : share) EXPECT_NEAR(s, 1, 1e-9);
    }
}

TEST(Redundant, NeverMakesTheBusiestGpuBusierAndMostlyMuchLighter) {
  double before = 0, after = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const auto load = skewed(64, seed);
    const ExpertGrid plain{64, 64, 1, 1, 8}, grid{64, 72, 1, 1, 8};
    const auto alone = redundant_layer(load, plain), more = redundant_layer(load, grid);
    ASSERT_TRUE(alone && more);
    EXPECT_LE(imbalance(*more, load, grid), imbalance(*alone, load, plain) + 1e-9);
    before += imbalance(*alone, load, plain) - 1;
    after += imbalance(*more, load, grid) - 1;
  }
  EXPECT_LT(after, before / 4);
}

TEST(Redundant, MakesNoCopyThatRelievesNobody) {
  const ExpertGrid grid{8, 16, 1, 1, 4};
  const auto even = redundant_layer(std::vector<double>(8, 5.0), grid);
  const auto idle = redundant_layer(std::vector<double>(8, 0.0), grid);
  ASSERT_TRUE(even && idle);
  EXPECT_EQ(num_copied(nullptr, *even, grid), 0);
  EXPECT_EQ(num_copied(nullptr, *idle, grid), 0);
}

TEST(Redundant, AReplicaThatStaysKeepsItsSlot) {
  const ExpertGrid grid{16, 24, 1, 1, 4};
  auto load = skewed(16, 3);
  const auto first = redundant_layer(load, grid);
  ASSERT_TRUE(first);
  EXPECT_GT(num_copied(nullptr, *first, grid), 0);
  const auto same = redundant_layer(load, grid, &*first);
  ASSERT_TRUE(same);
  EXPECT_EQ(same->expert_of, first->expert_of);
  EXPECT_EQ(num_copied(&*first, *same, grid), 0);
}

TEST(Redundant, RefusesWhatCannotBe) {
  const auto why = [](const std::vector<double>& load, const ExpertGrid& grid) {
    const auto result = redundant_layer(load, grid);
    return result ? std::string() : result.error().message;
  };
  const std::vector<double> four(4, 1.0);
  EXPECT_THAT(why(four, {4, 6, 1, 1, 3}), HasSubstr("do not divide over 3 GPUs"));
  EXPECT_THAT(why(four, {4, 10, 1, 1, 2}), HasSubstr("twice"));
  EXPECT_THAT(why({1, NAN, 1, 1}, {4, 6, 1, 1, 2}), HasSubstr("expert 1"));
  EXPECT_THAT(why({1, 1, 1}, {4, 6, 1, 1, 2}), HasSubstr("3 loads"));
}

}  // namespace
}  // namespace weft::scheduler

// Expert balancing: the published algorithm as published, and a better one.
#include "scheduler/balance/balance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <string>
#include <tuple>

#include "base/rng.h"
#include "scheduler/balance/assignment.h"
#include "scheduler/balance/gain.h"

namespace weft::scheduler {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;

enum class Shape { Uniform, LogNormal, Zipf, OneHot, Zeros, Equal };
constexpr Shape kShapes[] = {Shape::Uniform, Shape::LogNormal, Shape::Zipf,
                             Shape::OneHot,  Shape::Zeros,     Shape::Equal};

std::vector<double> loads(Shape shape, int experts, std::uint64_t seed) {
  Rng rng(seed, "expert loads", static_cast<std::uint64_t>(shape));
  std::vector<double> load(experts);
  for (int e = 0; e < experts; ++e) {
    const double u = rng.uniform(), v = rng.uniform();
    const double normal = std::sqrt(-2 * std::log(u + 1e-12)) * std::cos(6.283185307 * v);
    switch (shape) {
      case Shape::Uniform:
        load[e] = std::floor(1000 * u);
        break;
      case Shape::LogNormal:
        load[e] = std::floor(1000 * std::exp(1.2 * normal));
        break;
      case Shape::Zipf:
        load[e] = std::floor(100000 / (1 + std::floor(u * experts)));
        break;
      case Shape::OneHot:
        load[e] = e == static_cast<int>(seed) % experts ? 1e6 : 1;
        break;
      case Shape::Zeros:
        load[e] = u < 0.7 ? 0 : std::floor(100 * v);
        break;
      case Shape::Equal:
        load[e] = 5;
        break;
    }
  }
  return load;
}

void expect_a_placement(const LayerReplicas& layer, const ExpertGrid& grid) {
  ASSERT_EQ(std::ssize(layer.expert_of), grid.replicas);
  const std::vector<int> count = replica_counts(layer, grid.experts);
  EXPECT_GE(std::ranges::min(count), 1) << "every expert lives somewhere";
  std::vector<std::vector<int>> indices(grid.experts);
  for (int slot = 0; slot < grid.replicas; ++slot)
    indices[layer.expert_of[slot]].push_back(layer.index_of[slot]);
  std::vector<double> shares(grid.experts, 0.0);
  for (int slot = 0; slot < grid.replicas; ++slot) {
    EXPECT_GE(layer.share_of[slot], 0);
    shares[layer.expert_of[slot]] += layer.share_of[slot];
  }
  for (int e = 0; e < grid.experts; ++e) {
    EXPECT_NEAR(shares[e], 1, 1e-9) << "every token of an expert goes somewhere";
    std::ranges::sort(indices[e]);
    for (int i = 0; i < count[e]; ++i) EXPECT_EQ(indices[e][i], i);
  }
  if (!grid.keeps_groups_on_nodes()) return;
  std::vector<int> node_of(grid.groups, -1);
  for (int slot = 0; slot < grid.replicas; ++slot) {
    int& node = node_of[layer.expert_of[slot] / (grid.experts / grid.groups)];
    const int here = slot / (grid.replicas / grid.nodes);
    if (node < 0) node = here;
    EXPECT_EQ(node, here) << "a group lies on one node";
  }
}

bool has_twins(const LayerReplicas& layer, const ExpertGrid& grid) {
  const int size = grid.slots_per_gpu();
  for (int g = 0; g < grid.gpus; ++g) {
    std::vector<int> gpu(layer.expert_of.begin() + g * size,
                         layer.expert_of.begin() + (g + 1) * size);
    std::ranges::sort(gpu);
    if (std::ranges::adjacent_find(gpu) != gpu.end()) return true;
  }
  return false;
}

std::vector<ExpertGrid> grids() {
  return {{256, 288, 8, 4, 32}, {256, 320, 8, 8, 64}, {256, 288, 8, 18, 144}, {64, 80, 8, 2, 16},
          {12, 16, 4, 2, 8},    {8, 8, 4, 2, 4},      {6, 12, 3, 1, 3},       {5, 9, 1, 1, 3},
          {4, 8, 2, 2, 4},      {16, 24, 4, 3, 6},    {7, 7, 7, 1, 1},        {3, 6, 1, 1, 2}};
}

LayerReplicas must(const std::vector<double>& load, const ExpertGrid& grid,
                   const BalanceOptions& options, const LayerReplicas* current = nullptr) {
  const auto layer = balance_layer(load, grid, options, current);
  EXPECT_TRUE(layer) << layer.error().message;
  return layer ? *layer : LayerReplicas{};
}

// The example of the published algorithm's description: two layers, 12 experts, 16 replicas, 4
// groups, 2 nodes, 8 GPUs.
TEST(Balance, GivesThePublishedExampleAsPublished) {
  const ExpertGrid grid{12, 16, 4, 2, 8};
  const BalanceOptions published{BalancePolicy::Published};
  const LayerReplicas first =
      must({90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86}, grid, published);
  EXPECT_THAT(first.expert_of,
              ElementsAreArray({5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1}));
  const LayerReplicas second =
      must({20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27}, grid, published);
  EXPECT_THAT(second.expert_of,
              ElementsAreArray({7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1}));
}

TEST(Balance, EveryPlacementIsOneAndKeepsGroupsOnNodes) {
  for (const ExpertGrid& grid : grids())
    for (const Shape shape : kShapes)
      for (const BalancePolicy policy : {BalancePolicy::Published, BalancePolicy::Best})
        expect_a_placement(must(loads(shape, grid.experts, 3), grid, {policy}), grid);
}

TEST(Balance, TheBestPolicyNeverHasTwinsAndIsNeverBusierThanThePublishedOne) {
  for (const ExpertGrid& grid : grids())
    for (const Shape shape : kShapes)
      for (std::uint64_t seed = 0; seed < (grid.experts > 64 ? 2 : 12); ++seed) {
        const std::vector<double> load = loads(shape, grid.experts, seed);
        const LayerReplicas best = must(load, grid, {});
        EXPECT_FALSE(has_twins(best, grid));
        const double published =
            imbalance(must(load, grid, {BalancePolicy::Published}), load, grid);
        EXPECT_LE(imbalance(best, load, grid), published * (1 + 1e-9))
            << grid.experts << " experts, " << grid.replicas << " replicas, " << grid.gpus
            << " GPUs, shape " << static_cast<int>(shape) << " seed " << seed;
      }
}

/// A grid that balance_layer takes, and all such grids of up to 48 experts can be drawn.
ExpertGrid drawn_grid(Rng& rng) {
  for (;;) {
    ExpertGrid grid;
    grid.experts = 1 + static_cast<int>(rng.below(48));
    grid.nodes = 1 + static_cast<int>(rng.below(4));
    grid.gpus = grid.nodes * (1 + static_cast<int>(rng.below(6)));
    grid.groups = 1 + static_cast<int>(rng.below(static_cast<std::uint64_t>(grid.experts)));
    grid.replicas = grid.gpus * (1 + static_cast<int>(rng.below(12)));
    if (grid_problems(grid, BalancePolicy::Best).empty()) return grid;
  }
}

TEST(Balance, OnAnyGridAndLoadThereAreNoTwinsAndNoGpuIsBusierThanThePublishedOnes) {
  const char* asked = std::getenv("WEFT_BALANCE_GRIDS");  // more of them, by hand
  const std::uint64_t grids = asked != nullptr ? std::stoull(asked) : 100;
  for (std::uint64_t seed = 0; seed < grids; ++seed) {
    Rng rng(seed, "grid");
    const ExpertGrid grid = drawn_grid(rng);
    const Shape shape = kShapes[seed % std::size(kShapes)];
    const std::vector<double> load = loads(shape, grid.experts, seed);
    const LayerReplicas best = must(load, grid, {});
    const LayerReplicas published = must(load, grid, {BalancePolicy::Published});
    const std::string what =
        "seed " + std::to_string(seed) + ": " + std::to_string(grid.experts) + " experts, " +
        std::to_string(grid.replicas) + " replicas, " + std::to_string(grid.groups) + " groups, " +
        std::to_string(grid.nodes) + " nodes, " + std::to_string(grid.gpus) + " GPUs";
    SCOPED_TRACE(what);
    expect_a_placement(best, grid);
    EXPECT_FALSE(has_twins(best, grid));
    const double most = imbalance(published, load, grid) * (1 + 1e-9);
    EXPECT_LE(imbalance(best, load, grid), most);
    // From anywhere: also with the placement of other loads as the current one.
    const LayerReplicas moved = must(loads(shape, grid.experts, seed + 1000), grid, {}, &best);
    const LayerReplicas near = must(load, grid, {}, &moved);
    EXPECT_FALSE(has_twins(near, grid));
    EXPECT_LE(imbalance(near, load, grid), most);
  }
}

TEST(Balance, EvenSharesAreEnoughOnTheDeploymentsGrids) {
  for (const ExpertGrid& grid : grids())
    for (const Shape shape : {Shape::Uniform, Shape::LogNormal, Shape::Zipf, Shape::OneHot}) {
      if (grid.experts < 256) continue;
      const std::vector<double> load = loads(shape, grid.experts, 1);
      const LayerReplicas even = with_even_shares(must(load, grid, {}), grid.experts);
      const LayerReplicas published = must(load, grid, {BalancePolicy::Published});
      EXPECT_LE(imbalance(even, load, grid), imbalance(published, load, grid) * (1 + 1e-9));
      EXPECT_LE(imbalance(must(load, grid, {}), load, grid), imbalance(even, load, grid) + 1e-9);
    }
}

TEST(Balance, ThePublishedPolicyDoesPutTwinsOnAGpu) {
  EXPECT_TRUE(
      has_twins(must({1, 0}, {2, 4, 1, 1, 2}, {BalancePolicy::Published}), {2, 4, 1, 1, 2}));
}

/// The least load that the busiest of `gpus` GPUs can have without twins: all ways are tried.
double least_busiest(std::span<const double> load, int gpus, int slots) {
  std::vector<unsigned> sets;  // of experts, as bits
  for (unsigned set = 0; set < 1u << load.size(); ++set)
    if (std::popcount(set) == slots) sets.push_back(set);
  std::vector<unsigned> chosen(gpus);
  double least = 1e300;
  // GPUs are alike: sets in ascending order only.
  const auto choose = [&](const auto& self, int gpu, std::size_t from) -> void {
    if (gpu < gpus) {
      for (std::size_t i = from; i < sets.size(); ++i) {
        chosen[gpu] = sets[i];
        self(self, gpu + 1, i);
      }
      return;
    }
    double most = 0;
    for (const unsigned set : chosen) {
      double sum = 0;
      for (std::size_t e = 0; e < load.size(); ++e)
        if (set >> e & 1)
          sum += load[e] / std::ranges::count_if(chosen, [&](unsigned s) { return s >> e & 1; });
      most = std::max(most, sum);
    }
    unsigned all = 0;
    for (const unsigned set : chosen) all |= set;
    if (all == (1u << load.size()) - 1) least = std::min(least, most);
  };
  choose(choose, 0, 0);
  return least;
}

TEST(Balance, OnSmallGridsItIsNearlyOptimalAmongPlacementsWithoutTwins) {
  for (const ExpertGrid& grid :
       {ExpertGrid{3, 4, 1, 1, 2}, ExpertGrid{5, 9, 1, 1, 3}, ExpertGrid{6, 8, 1, 1, 4}})
    for (std::uint64_t seed = 0; seed < 12; ++seed) {
      const std::vector<double> load = loads(Shape::LogNormal, grid.experts, seed);
      const double least = least_busiest(load, grid.gpus, grid.slots_per_gpu());
      const LayerReplicas even = with_even_shares(must(load, grid, {}), grid.experts);
      EXPECT_LE(std::ranges::max(gpu_loads(even, load, grid)), least * 1.01)
          << grid.experts << " experts, seed " << seed;
    }
}

TEST(Balance, NothingMovesWhenTheLoadsDoNotChange) {
  for (const ExpertGrid& grid : grids()) {
    const std::vector<double> load = loads(Shape::LogNormal, grid.experts, 5);
    const LayerReplicas now = must(load, grid, {});
    EXPECT_EQ(num_moved(now, must(load, grid, {}, &now), grid), 0);
  }
}

TEST(Balance, AfterADriftFewReplicasMoveAndTheLoadStaysGood) {
  const ExpertGrid grid{256, 288, 8, 4, 32};
  std::vector<double> load = loads(Shape::LogNormal, 256, 1);
  const LayerReplicas now = must(load, grid, {});
  Rng rng(9, "drift");
  for (double& l : load) l *= 0.9 + 0.2 * rng.uniform();
  const LayerReplicas afresh = must(load, grid, {});
  const LayerReplicas near = must(load, grid, {}, &now);
  EXPECT_LT(num_moved(now, near, grid), num_moved(now, afresh, grid) / 2);
  EXPECT_LE(imbalance(near, load, grid), imbalance(afresh, load, grid) * 1.02 + 1e-9);
  EXPECT_FALSE(has_twins(near, grid));
}

TEST(Balance, ARefusedGridNamesTheRuleAndTheNearestNumber) {
  const auto why = [](const ExpertGrid& grid) {
    const auto result = balance_layer(std::vector<double>(std::max(0, grid.experts), 1.0), grid);
    return result ? "" : result.error().message;
  };
  EXPECT_THAT(why({256, 288, 8, 8, 64}), HasSubstr("256 or 320"));
  EXPECT_THAT(why({256, 250, 8, 1, 32}), HasSubstr("GPUs; 256 do")) << "each expert needs a slot";
  EXPECT_THAT(why({256, 256, 7, 1, 8}), HasSubstr("252 or 259"));
  EXPECT_THAT(why({256, 256, 8, 3, 8}), HasSubstr("do not divide over 3 nodes"));
  EXPECT_THAT(why({256, 128, 8, 1, 8}), HasSubstr("each needs one"));
  EXPECT_THAT(why({2, 6, 1, 1, 2}), HasSubstr("at most 4 replicas"));
  EXPECT_THAT(why({0, 6, 1, 1, 2}), HasSubstr("experts = 0"));
}

TEST(Balance, AGridIsRefusedWithAllThatIsWrongAndTheNearestOneThatIsNot) {
  const ExpertGrid bad{256, 250, 7, 3, 32};
  EXPECT_EQ(grid_problems(bad, BalancePolicy::Best).size(), 3u);
  const auto near = nearest_grid(bad, BalancePolicy::Best);
  ASSERT_TRUE(near);
  EXPECT_TRUE(grid_problems(*near, BalancePolicy::Best).empty());
  EXPECT_EQ(near->groups, 8);
  EXPECT_EQ(near->gpus % near->nodes, 0);
  // One number is wrong: one is changed.
  const auto one = nearest_grid({256, 250, 8, 4, 32}, BalancePolicy::Best);
  ASSERT_TRUE(one);
  EXPECT_EQ(std::tuple(one->replicas, one->groups, one->nodes, one->gpus),
            std::tuple(256, 8, 4, 32));
  // Twins are the best policy's rule only.
  EXPECT_EQ(grid_problems({2, 6, 1, 1, 2}, BalancePolicy::Best).size(), 1u);
  EXPECT_TRUE(grid_problems({2, 6, 1, 1, 2}, BalancePolicy::Published).empty());
  EXPECT_EQ(nearest_grid({2, 6, 1, 1, 2}, BalancePolicy::Best)->replicas, 4);
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Rng rng(seed, "bad grid");
    const auto upto = [&](int most) { return static_cast<int>(rng.below(most)); };
    const ExpertGrid any{1 + upto(300), upto(600) - 5, upto(40) - 2, upto(20) - 2, upto(80) - 2};
    if (const auto other = nearest_grid(any, BalancePolicy::Best)) {
      EXPECT_TRUE(grid_problems(*other, BalancePolicy::Best).empty()) << "seed " << seed;
    } else {
      ADD_FAILURE() << "nothing found near seed " << seed;
    }
  }
}

TEST(Balance, LoadsThatAreNoLoadsAreRefused) {
  const ExpertGrid grid{2, 2, 1, 1, 2};
  EXPECT_THAT(balance_layer(std::vector<double>{1, -1}, grid).error().message,
              HasSubstr("expert 1"));
  EXPECT_THAT(balance_layer(std::vector<double>{1, NAN}, grid).error().message,
              HasSubstr("expert 1"));
  EXPECT_THAT(balance_layer(std::vector<double>{1}, grid).error().message, HasSubstr("1 loads"));
}

TEST(Balance, TheGainOfReplicasIsThatOfTheBusiestGpu) {
  std::vector<double> even(16, 1.0), hot(16, 1.0);
  hot[3] = 9;
  const std::vector<std::vector<double>> loads = {even, hot};
  const auto gain = balance_gain(loads, 1, 1, 4);
  ASSERT_TRUE(gain) << gain.error().message;
  EXPECT_DOUBLE_EQ(gain->before, (1 + 12 / 6.0) / 2);
  EXPECT_EQ(gain->worst_layer, 1);
  EXPECT_LT(gain->after, 1.1);
  EXPECT_NEAR(gain->saved(), 1 - gain->after / gain->before, 1e-12);
  EXPECT_FALSE(balance_gain(loads, 1, 1, 5)) << "16 experts do not divide over 5 GPUs";
}

TEST(Assignment, IsTheCheapestOfAll) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Rng rng(seed, "costs");
    const int n = 1 + static_cast<int>(seed % 6);
    std::vector<std::vector<long long>> cost(n, std::vector<long long>(n));
    for (auto& row : cost)
      for (long long& c : row) c = static_cast<long long>(rng.below(40)) - 20;
    std::vector<int> order(n);
    std::iota(order.begin(), order.end(), 0);
    long long least = 1 << 30;
    do {
      long long sum = 0;
      for (int i = 0; i < n; ++i) sum += cost[i][order[i]];
      least = std::min(least, sum);
    } while (std::ranges::next_permutation(order).found);
    const std::vector<int> found = least_cost_assignment(cost);
    long long sum = 0;
    for (int i = 0; i < n; ++i) sum += cost[i][found[i]];
    EXPECT_EQ(sum, least);
  }
}

}  // namespace
}  // namespace weft::scheduler

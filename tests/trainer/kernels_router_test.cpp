#include <algorithm>
#include <numeric>

#include "kernels_fixture.h"
#include "trainer/kernels/router.h"

namespace weft::trainer::kernels {
namespace {

using Indices = std::vector<std::int32_t>;

/// Sorts everything, one rule after the other.
Indices choose(const RouterShape& s, const std::vector<double>& biased) {
  const int size = s.experts / s.groups;
  std::vector<double> score(static_cast<std::size_t>(s.groups));
  for (int g = 0; g < s.groups; ++g) {
    std::vector<double> group(biased.begin() + g * size, biased.begin() + (g + 1) * size);
    std::sort(group.rbegin(), group.rend());
    score[static_cast<std::size_t>(g)] = group[0] + (size > 1 ? group[1] : 0);
  }
  const auto best = [](const std::vector<double>& values, Indices candidates, int n) {
    std::stable_sort(candidates.begin(), candidates.end(), [&](int a, int b) {
      return values[static_cast<std::size_t>(a)] > values[static_cast<std::size_t>(b)];
    });
    candidates.resize(static_cast<std::size_t>(n));
    return candidates;
  };
  Indices groups(static_cast<std::size_t>(s.groups));
  std::iota(groups.begin(), groups.end(), 0);
  Indices open;
  Indices kept = best(score, groups, s.top_groups);
  std::sort(kept.begin(), kept.end());
  for (const int g : kept) {
    for (int e = g * size; e < (g + 1) * size; ++e) open.push_back(e);
  }
  Indices chosen = best(biased, open, s.top_k);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

struct Routed {
  std::vector<Real> scores, weights;
  Indices chosen;
};

Routed route(const RouterShape& s, const std::vector<Real>& logits, const std::vector<Real>& bias) {
  Context context;
  const int rows = static_cast<int>(logits.size()) / s.experts;
  Routed out{std::vector<Real>(logits.size()),
             std::vector<Real>(static_cast<std::size_t>(rows * s.top_k)),
             Indices(static_cast<std::size_t>(rows * s.top_k))};
  router_forward(context, s, logits.data(), bias.data(), rows, out.scores.data(), out.chosen.data(),
                 out.weights.data());
  return out;
}

TEST(Router, ChoosesAsSortingWould) {
  for (const RouterShape& s :
       {RouterShape{8, 2, 2, 2, true, 1}, RouterShape{8, 2, 4, 2, true, Real(2.5)},
        RouterShape{12, 4, 3, 2, false, Real(2.5)}, RouterShape{7, 3, 7, 5, true, 1},
        RouterShape{1, 1, 1, 1, true, 1}, RouterShape{64, 8, 8, 4, true, Real(2.5)}}) {
    const int rows = 50;
    const auto logits = random_values(static_cast<std::size_t>(rows * s.experts), 1);
    const auto bias = random_values(static_cast<std::size_t>(s.experts), 2, 0.3);
    const Routed got = route(s, logits, bias);
    for (int r = 0; r < rows; ++r) {
      std::vector<double> biased;
      for (int e = 0; e < s.experts; ++e) {
        const auto k = static_cast<std::size_t>(r * s.experts + e);
        EXPECT_NEAR(got.scores[k], 1 / (1 + std::exp(-logits[k])), 1e-6);
        biased.push_back(got.scores[k] + bias[static_cast<std::size_t>(e)]);
      }
      const Indices want = choose(s, biased);
      double sum = 0;
      for (const int e : want) sum += got.scores[static_cast<std::size_t>(r * s.experts + e)];
      for (int k = 0; k < s.top_k; ++k) {
        const auto at = static_cast<std::size_t>(r * s.top_k + k);
        ASSERT_EQ(got.chosen[at], want[static_cast<std::size_t>(k)]);
        const double score = got.scores[static_cast<std::size_t>(r * s.experts + got.chosen[at])];
        EXPECT_NEAR(got.weights[at], s.scaling * (s.normalize ? score / sum : score), 1e-5);
      }
    }
  }
}

TEST(Router, TiesGoToTheLowerIndex) {
  const RouterShape s{8, 2, 4, 2, true, 1};
  const Routed got = route(s, std::vector<Real>(8, Real(0.5)), std::vector<Real>(8, Real(0)));
  EXPECT_EQ(got.chosen, (Indices{0, 1}));
}

TEST(Router, BiasMovesTheChoiceButNotTheWeights) {
  const RouterShape s{4, 2, 1, 1, false, 1};
  const std::vector<Real> logits = {3, 2, 1, 0};
  const Routed got = route(s, logits, {0, 0, 0, 5});
  EXPECT_EQ(got.chosen, (Indices{0, 3}));
  EXPECT_NEAR(got.weights[1], 0.5, 1e-6);
}

TEST(Router, NothingButTheGroupsWithTheBestPairsIsChosen) {
  // Group 0 has the best single score, groups 1 and 2 the best pairs.
  const RouterShape s{6, 2, 3, 1, true, 1};
  const Routed got = route(s, {4, -4, 1, 1, 0, 0}, std::vector<Real>(6, Real(0)));
  EXPECT_EQ(got.chosen, (Indices{2, 3}));
}

}  // namespace
}  // namespace weft::trainer::kernels

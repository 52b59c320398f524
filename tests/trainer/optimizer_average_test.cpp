#include <gtest/gtest.h>

#include "base/rng.h"
#include "trainer/optimizer/parameter_average.h"

namespace weft::trainer::optimizer {
namespace {

struct Model {
  std::vector<std::vector<Real>> tensors;

  explicit Model(std::initializer_list<std::size_t> sizes) {
    for (const std::size_t size : sizes) tensors.emplace_back(size);
    change(0);
  }
  void change(std::uint64_t step) {
    Rng rng(1, "values", step);
    for (auto& tensor : tensors)
      for (Real& value : tensor) value = static_cast<Real>(rng.uniform());
  }
  std::vector<std::span<const Real>> spans() const { return {tensors.begin(), tensors.end()}; }
};

TEST(ParameterAverage, IsTheMovingAverageWhoeverComputedIt) {
  constexpr double kDecay = 0.9;
  Model model{100'000, 1, 0, 40'000};
  ParameterAverage average(model.spans(), kDecay);
  auto expected = model.tensors;
  for (std::uint64_t step = 1; step <= 30; ++step) {
    model.change(step);
    average.begin();
    if (step % 3 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    average.finish();
    for (std::size_t i = 0; i < expected.size(); ++i)
      for (std::size_t k = 0; k < expected[i].size(); ++k)
        expected[i][k] += static_cast<Real>(1 - kDecay) * (model.tensors[i][k] - expected[i][k]);
  }
  for (std::size_t i = 0; i < expected.size(); ++i)
    for (std::size_t k = 0; k < expected[i].size(); ++k)
      ASSERT_EQ(average.average(i)[k], expected[i][k]) << i << " " << k;
}

TEST(ParameterAverage, BeginsWithTheValuesAndCanBeginAgain) {
  Model model{1000};
  ParameterAverage average(model.spans(), 0.5);
  EXPECT_EQ(average.average(0)[7], model.tensors[0][7]);
  model.change(1);
  average.begin();
  average.restart();
  EXPECT_EQ(average.average(0)[7], model.tensors[0][7]);
}

TEST(ParameterAverage, MayEndWhileItIsAtWorkAndMayHoldNothing) {
  Model model{300'000};
  for (int i = 0; i < 20; ++i) {
    ParameterAverage average(model.spans(), 0.5);
    average.begin();
  }
  ParameterAverage nothing({}, 0.5);
  nothing.begin();
  nothing.finish();
}

}  // namespace
}  // namespace weft::trainer::optimizer

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "trainer/optimizer/curve.h"

namespace weft::trainer::optimizer {
namespace {

BatchPlan plan_of(const BatchRamp& ramp) {
  auto plan = BatchPlan::make(ramp);
  EXPECT_TRUE(plan) << plan.error().message;
  return std::move(*plan);
}

Curve curve_of(std::string_view text) {
  auto curve = Curve::parse(text);
  EXPECT_TRUE(curve) << curve.error().message;
  return std::move(*curve);
}

TEST(BatchPlan, WithoutARampEveryStepIsAlike) {
  const BatchPlan plan = plan_of({.batch = 16, .sequence_tokens = 128});
  EXPECT_EQ(plan.batch(0), 16);
  EXPECT_EQ(plan.batch(1'000'000'000), 16);
  EXPECT_EQ(plan.sequences_before(10), 160);
  EXPECT_EQ(plan.tokens_before(10), 160 * 128);
  EXPECT_EQ(plan.first_step_with(0), 0);
  EXPECT_EQ(plan.first_step_with(1), 1);
  EXPECT_EQ(plan.first_step_with(160 * 128), 10);
  EXPECT_EQ(plan.first_step_with(160 * 128 + 1), 11);
}

TEST(BatchPlan, GrowsLinearlyInTokensAsTheReportSays) {
  const BatchPlan plan =
      plan_of({.batch = 15360, .start = 3072, .tokens = 469e9, .sequence_tokens = 4096});
  EXPECT_EQ(plan.batch(0), 3072);
  const long long half = plan.first_step_with(469e9 / 2), end = plan.first_step_with(469e9);
  EXPECT_NEAR(plan.batch(half), (3072 + 15360) / 2, 2);
  EXPECT_EQ(plan.batch(end), 15360);
  EXPECT_LT(plan.batch(end - 1), 15360 + 1);
  EXPECT_NEAR(plan.tokens_before(end), 469e9, 15360.0 * 4096);
}

TEST(BatchPlan, PlacesOfStepsAreTheSumsOfTheirBatches) {
  const BatchPlan plan = plan_of({.batch = 40, .start = 3, .tokens = 20000, .sequence_tokens = 7});
  long long sequences = 0;
  for (long long step = 0; step < 400; ++step) {
    ASSERT_EQ(plan.sequences_before(step), sequences) << step;
    ASSERT_EQ(plan.first_step_with(static_cast<double>(sequences) * 7), step);
    ASSERT_EQ(plan.first_step_with(static_cast<double>(sequences) * 7 + 1), step + 1);
    ASSERT_TRUE(step == 0 || plan.batch(step) >= plan.batch(step - 1));
    sequences += plan.batch(step);
  }
  EXPECT_EQ(plan.batch(399), 40);
}

TEST(BatchPlan, RefusesRampsThatCannotBe) {
  EXPECT_FALSE(BatchPlan::make({.batch = 0}));
  EXPECT_FALSE(BatchPlan::make({.batch = 4, .start = 8, .tokens = 100}));
  EXPECT_FALSE(BatchPlan::make({.batch = 4, .start = 2, .tokens = 0}));
  EXPECT_FALSE(BatchPlan::make({.batch = 4, .start = 2, .tokens = std::nan("")}));
  EXPECT_FALSE(BatchPlan::make({.batch = 4, .start = 1, .tokens = 1e18}));
}

TEST(Curve, TheReportsLearningRateAtItsLandmarks) {
  const BatchPlan plan =
      plan_of({.batch = 15360, .start = 3072, .tokens = 469e9, .sequence_tokens = 4096});
  // The constant phase of the report ends at 10T tokens, the warm-up's included.
  const Curve curve = curve_of(
      "linear 2K to 2.2e-4, constant 9.97T tokens, cosine 4.3T tokens to 2.2e-5, "
      "constant 333B tokens, constant 167B tokens at 7.3e-6");
  EXPECT_DOUBLE_EQ(curve.at(0, plan), 2.2e-4 / 2000);
  EXPECT_DOUBLE_EQ(curve.at(999, plan), 1.1e-4);
  EXPECT_DOUBLE_EQ(curve.at(1999, plan), 2.2e-4);
  EXPECT_DOUBLE_EQ(curve.at(plan.first_step_with(9e12), plan), 2.2e-4);
  const double warm = plan.tokens_before(2000), start = warm + 9.97e12;
  EXPECT_NEAR(curve.at(plan.first_step_with(start + 2.15e12), plan), (2.2e-4 + 2.2e-5) / 2, 1e-8);
  EXPECT_DOUBLE_EQ(curve.at(plan.first_step_with(start + 4.4e12), plan), 2.2e-5);
  EXPECT_DOUBLE_EQ(curve.at(plan.first_step_with(start + 4.7e12), plan), 7.3e-6);
  EXPECT_DOUBLE_EQ(curve.at(10'000'000, plan), 7.3e-6);  // the last value stays
}

TEST(Curve, InStepsItIsWarmUpAndCosineAsWrittenInTextbooks) {
  const BatchPlan plan = plan_of({});
  const Curve curve = curve_of("linear 10 steps to 1e-3, cosine 90 to 1e-4");
  for (int step = 0; step < 100; ++step) {
    const double expected =
        step < 10 ? 1e-3 * (step + 1) / 10
                  : 1e-4 + 0.5 * 9e-4 * (1 + std::cos(std::numbers::pi * (step - 10) / 90.0));
    ASSERT_NEAR(curve.at(step, plan), expected, 1e-18) << step;
  }
  EXPECT_EQ(curve.at(100, plan), 1e-4);
}

TEST(Curve, AConstantPhaseStaysWhereTheOneBeforeEnded) {
  const BatchPlan plan = plan_of({.sequence_tokens = 100});
  const Curve curve = curve_of("constant 3 at 0.3, constant 200 tokens, linear 2 to 0.1");
  EXPECT_EQ(curve.at(0, plan), 0.3);
  EXPECT_EQ(curve.at(4, plan), 0.3);
  EXPECT_NEAR(curve.at(5, plan), 0.2, 1e-15);
  EXPECT_NEAR(curve.at(6, plan), 0.1, 1e-15);
  EXPECT_TRUE(curve.in_tokens());
}

TEST(Curve, ANumberAloneNeverChanges) {
  EXPECT_EQ(curve_of("0.3").at(0, plan_of({})), 0.3);
  EXPECT_EQ(curve_of("0.3").at(1000, plan_of({})), 0.3);
  EXPECT_FALSE(Curve::parse("-0.3"));
}

TEST(Curve, APhaseShorterThanAStepStillHasOne) {
  const BatchPlan plan = plan_of({.batch = 10, .sequence_tokens = 100});
  const Curve curve = curve_of("constant 1 tokens at 1, constant 1 tokens at 2, constant 1 at 3");
  EXPECT_EQ(curve.at(0, plan), 1);
  EXPECT_EQ(curve.at(1, plan), 2);
  EXPECT_EQ(curve.at(2, plan), 3);
}

TEST(Curve, RefusesWhatItDoesNotUnderstandAndNamesThePhase) {
  for (const char* text : {"", "linear", "linear 10", "linear 10 to", "linear 10 at 1",
                           "linear x to 1", "linear 0 to 1", "wave 10 to 1", "constant 10 to 1",
                           "cosine 10 steps to -1", "cosine 10 to nan", "linear 10 to 1 more",
                           "linear 10 to 1,,constant 5", "linear -5 to 1"}) {
    const auto curve = Curve::parse(text);
    ASSERT_FALSE(curve) << text;
    EXPECT_EQ(curve.error().code, Code::InvalidArgument);
  }
  const auto curve = Curve::parse("linear 10 to 1, wave 3 to 2");
  EXPECT_NE(curve.error().message.find("'wave 3 to 2'"), std::string::npos)
      << curve.error().message;
}

}  // namespace
}  // namespace weft::trainer::optimizer

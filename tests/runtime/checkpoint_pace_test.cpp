// How often a checkpoint pays.
#include "runtime/worker/checkpoint_pace.h"

#include <gtest/gtest.h>

#include <cmath>

namespace weft::runtime {
namespace {

/// Expected share of lost time: one stall an interval, half an interval and a stall a failure.
double lost(double interval, const PaceInputs& inputs) {
  return inputs.stall_seconds / interval +
         (interval / 2 + inputs.stall_seconds) / inputs.failure_seconds;
}

TEST(CheckpointInterval, IsCloseToTheOneThatLosesLeast) {
  for (const double stall : {0.01, 1.0, 60.0})
    for (const double failure : {600.0, 3600.0, 86400.0 * 30}) {
      const PaceInputs inputs{stall, 0, 0.1, failure};
      const double chosen = static_cast<double>(best_checkpoint_interval(inputs)) * 0.1;
      double least = 1e300;
      for (double interval = 0.01; interval < 1e7; interval *= 1.01)
        least = std::min(least, lost(interval, inputs));
      EXPECT_LT(lost(chosen, inputs), 1.1 * least) << stall << " s, " << failure << " s";
    }
}

TEST(CheckpointInterval, NeverBeginsBeforeTheLastIsWritten) {
  EXPECT_EQ(best_checkpoint_interval({1e-3, 90, 2, 100}), 45);
}

TEST(CheckpointInterval, IsAStepAtLeastHoweverBadTheInputs) {
  EXPECT_EQ(best_checkpoint_interval({}), 1);
  EXPECT_EQ(best_checkpoint_interval({100, 0, 1000, 1}), 1);
  EXPECT_GE(best_checkpoint_interval({1, 1, 0, 1e300}), 1);
}

TEST(CheckpointPace, EverySoManyStepsAndNeverForZero) {
  const CheckpointPace every({.every_steps = 10});
  EXPECT_TRUE(every.is_due(20));
  EXPECT_FALSE(every.is_due(21));
  EXPECT_FALSE(CheckpointPace(CheckpointPace::Options{}).is_due(10));
}

TEST(CheckpointPace, AutomaticMeasuresThenSaysWhatItChose) {
  CheckpointPace pace({.automatic = true, .every_steps = 200, .failure_seconds = 3600, .steps = 7});
  EXPECT_FALSE(pace.is_due(16));
  EXPECT_TRUE(pace.is_due(17));
  EXPECT_EQ(pace.stepped(1.0), std::nullopt);
  pace.began(17, 0.5);
  pace.wrote(3.0);
  const auto told = pace.stepped(1.0);
  ASSERT_TRUE(told);
  for (const char* part : {"every 60 steps", "500 ms", "1 h", "0 seen"})
    EXPECT_NE(told->find(part), std::string::npos) << *told;
  EXPECT_FALSE(pace.is_due(17 + pace.every_steps() - 1));
  EXPECT_TRUE(pace.is_due(17 + pace.every_steps()));
  EXPECT_EQ(pace.stepped(1.0), std::nullopt) << "nothing new";
}

TEST(CheckpointPace, FailuresMakeItMoreFrequent) {
  const auto interval = [](long long failures) {
    CheckpointPace pace(
        {.automatic = true, .failure_seconds = 3600, .failures = failures, .steps = 0});
    pace.began(10, 0.5);
    pace.wrote(1.0);
    (void)pace.stepped(1.0);
    return pace.every_steps();
  };
  EXPECT_LT(interval(8), interval(0) / 2);
}

}  // namespace
}  // namespace weft::runtime

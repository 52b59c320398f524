// The shipped jobs keep their promise: rewards alone teach the model to think. Whole runs of
// minutes, labelled slow; their wall time is printed, not asserted.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

const std::filesystem::path kSource = WEFT_SOURCE_DIR;

struct Learned {
  nlohmann::json before, after;  // the evaluations around reinforcement learning
};

/// Runs a job whole and returns the held-out evaluations before and after its GRPO stage.
Learned learn(const Place& place, const std::string& job, int seed) {
  const std::filesystem::path run = place / "run";
  Weft process({"run", (kSource / "deploy/jobs" / job).string(), "--dir", run.string(), "--set",
                "seed=" + std::to_string(seed), "--quiet"});
  const Ended ended = process.wait(std::chrono::minutes(14));
  EXPECT_EQ(ended.code, 0) << ended.err;
  std::printf("%s, seed %d: %.0f s\n", job.c_str(), seed, ended.seconds);
  Learned learned;
  for (const nlohmann::json& event : lines_of(run / "events.jsonl")) {
    if (event.value("kind", "") != "evaluation") continue;
    std::printf("  %s\n", event["message"].get<std::string>().c_str());
    if (event["message"].get<std::string>().starts_with("before")) learned.before = event;
    learned.after = event;
  }
  return learned;
}

/// An evaluation's figure; events carry them beside the message.
double figure(const nlohmann::json& event, const char* name) {
  return event.contains("details") ? event["details"].at(name).get<double>()
                                   : event.at(name).get<double>();
}
double length_at(const nlohmann::json& event, const char* difficulty) {
  const nlohmann::json& holder = event.contains("details") ? event["details"] : event;
  return holder.at("eval_length_by_difficulty").at(difficulty).get<double>();
}

class MainJob : public testing::TestWithParam<int> {};

TEST_P(MainJob, RewardsAloneLiftHeldOutAccuracyAndChainsGrowMostOnTheLongestProblems) {
  const Place place;
  const Learned learned = learn(place, "r1-zero-arithmetic.yaml", GetParam());
  ASSERT_TRUE(learned.before.is_object() && learned.after.is_object());
  EXPECT_LE(figure(learned.before, "eval_accuracy"), 0.30);
  EXPECT_GE(figure(learned.after, "eval_accuracy"), 0.80);
  EXPECT_GT(figure(learned.after, "eval_length"), figure(learned.before, "eval_length"));
  const double shortest = length_at(learned.after, "2") - length_at(learned.before, "2");
  const double longest = length_at(learned.after, "6") - length_at(learned.before, "6");
  EXPECT_GT(longest, shortest);
}

INSTANTIATE_TEST_SUITE_P(Seeds, MainJob, testing::Values(1, 2, 3));

TEST(CupsJob, RewardsAloneLiftHeldOutAccuracy) {
  const Place place;
  const Learned learned = learn(place, "r1-zero-cups.yaml", 1);
  ASSERT_TRUE(learned.before.is_object() && learned.after.is_object());
  EXPECT_GE(figure(learned.after, "eval_accuracy"), figure(learned.before, "eval_accuracy") + 0.30);
  EXPECT_GE(figure(learned.after, "eval_accuracy"), 0.80);
}

// Known for a small model with 1.5 M training tokens; here half of them have to do.
TEST(TextJob, ReachesTheKnownValidationLossWithHalfTheTokens) {
  const auto text = kSource.parent_path() / "shared/data/tinyshakespeare.txt";
  if (!std::filesystem::exists(text)) GTEST_SKIP() << "needs " << text;
  const Place place;
  Weft process({"run", (kSource / "deploy/jobs/pretrain-text.yaml").string(), "--dir",
                (place / "run").string(), "--set", "data.path=" + text.string(), "--set",
                "pretrain.steps=1000", "--quiet"});
  const Ended ended = process.wait(std::chrono::minutes(14));
  ASSERT_EQ(ended.code, 0) << ended.err;
  std::printf("pretrain-text: %.0f s\n", ended.seconds);
  double loss = 1e9;
  for (const nlohmann::json& event : lines_of(place / "run/events.jsonl"))
    if (event.value("kind", "") == "evaluation") {
      std::printf("  %s\n", event["message"].get<std::string>().c_str());
      loss = figure(event, "val_loss");
    }
  EXPECT_LE(loss, 1.88);
}

}  // namespace
}  // namespace weft::test

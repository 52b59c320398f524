// A killed and resumed run is the run: the same numbers to the last bit, no step missing, none
// twice.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <random>
#include <thread>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

class RunResume : public testing::Test {
 protected:
  /// The run that nobody disturbs; of so many steps, or as many as the job says.
  std::vector<json> undisturbed(const std::string& job, const std::string& steps = "") {
    const fs::path run = place / "undisturbed";
    std::vector<std::string> words = {"run", job, "--dir", run.string()};
    if (!steps.empty()) words.insert(words.end(), {"--set", steps});
    const Ended ended = weft(words);
    EXPECT_EQ(ended.code, 0) << ended.err;
    return metrics_of(run);
  }

  /// Starts or resumes the run in `disturbed`, and kills all of it when `now` says so.
  void kill_when(const std::string& job, const std::function<bool()>& now,
                 std::chrono::microseconds later = {}, const std::string& set = "",
                 const std::string& fault = "") {
    std::vector<std::string> words = {"run", job, "--dir", disturbed.string(), "--set", every};
    if (!set.empty()) words.insert(words.end(), {"--set", set});
    Weft child(words, {}, {"WEFT_FAULT=" + fault});
    ASSERT_TRUE(eventually([&] { return now() || !child.running(); }));
    std::this_thread::sleep_for(later);
    child.kill_all();
    child.wait();
    ASSERT_TRUE(eventually([&] { return child.workers().empty(); }));
  }

  void expect_the_run(const std::vector<json>& expected) {
    const std::vector<json> metrics = metrics_of(disturbed);
    ASSERT_EQ(metrics.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i)
      EXPECT_EQ(metrics[i], expected[i]) << "step " << i + 1;
  }

  /// Of a run that was disturbed in the middle: it is to go on for some steps.
  std::string some_steps_more() const {
    return "pretrain.steps=" + std::to_string(steps_of(disturbed) + 7);
  }

  Place place;
  fs::path disturbed = place / "disturbed";
  std::string endless = "pretrain.steps=100000";  // it will not have ended when we come to it
  std::string every =
      "checkpoint.keep=3";  // how often the disturbed run saves; numbers do not care
};

TEST_F(RunResume, AfterSigkillAtAnyMomentItWritesTheSameNumbers) {
  const std::string job = place.supervised_job();
  const std::vector<json> expected = undisturbed(job);
  ASSERT_EQ(expected.size(), 40u);
  std::mt19937 random(20250101);
  // Drawn moments; each kill is of a run that resumed after the one before.
  for (const long long from : {0, 9, 17, 24, 33}) {
    const long long step = from + static_cast<long long>(random() % 7);
    kill_when(
        job, [&] { return steps_of(disturbed) >= step; },
        std::chrono::microseconds(random() % 30'000));
  }
  const Ended ended = weft({"resume", disturbed.string()});
  ASSERT_EQ(ended.code, 0) << ended.err;
  expect_the_run(expected);
}

TEST_F(RunResume, AfterSigkillInTheMiddleOfACheckpointTheOneBeforeCounts) {
  const std::string job = place.supervised_job();
  const std::vector<json> expected = undisturbed(job);
  every = "checkpoint.every_steps=4";
  int torn = 0;
  for (int attempt = 0; attempt < 12 && torn < 3; ++attempt) {
    const std::vector<std::string> old = checkpoints_of(disturbed, true);
    const auto fresh = [&] {
      std::vector<std::string> names = checkpoints_of(disturbed, true);
      std::erase_if(names, [&](const auto& name) { return std::ranges::count(old, name) > 0; });
      return names;
    };
    // A rank that stops before it wrote its part holds the checkpoint open until we have seen it.
    kill_when(
        job, [&] { return !fresh().empty(); }, {}, "",
        "do=stop rank=3 at=checkpoint step=" + std::to_string(5 + 4 * attempt));
    for (const std::string& name : fresh()) {
      ++torn;
      const Ended shown = weft({"ckpt", "ls", disturbed.string(), "-o", "jsonl"});
      EXPECT_NE(shown.out.find(name), std::string::npos) << shown.out;
      EXPECT_NE(shown.out.find("\"partial\""), std::string::npos) << shown.out;
    }
  }
  EXPECT_GT(torn, 0) << "no kill hit a checkpoint while it was written";
  const Ended ended = weft({"run", job, "--dir", disturbed.string()});
  ASSERT_EQ(ended.code, 0) << ended.err;
  expect_the_run(expected);
  EXPECT_EQ(weft({"ckpt", "verify", disturbed.string()}).code, 0);
}

TEST_F(RunResume, GrpoGoesOnWithItsReferenceAndSamples) {
  const std::string job = place.grpo_job();
  const std::vector<json> expected = undisturbed(job);
  ASSERT_EQ(expected.size(), 18u);
  kill_when(job, [&] { return steps_of(disturbed) >= 8; });   // the border to the cold start
  kill_when(job, [&] { return steps_of(disturbed) >= 11; });  // inside it
  kill_when(job, [&] { return steps_of(disturbed) >= 12; });  // the border to GRPO
  kill_when(job, [&] { return steps_of(disturbed) >= 15; });  // inside GRPO
  kill_when(job, [&] { return steps_of(disturbed) >= 17; });
  const Ended ended = weft({"resume", disturbed.string()});
  ASSERT_EQ(ended.code, 0) << ended.err;
  expect_the_run(expected);
  for (int step = 13; step <= 18; ++step) {
    const std::string name = std::to_string(step) + ".jsonl";
    EXPECT_EQ(text_of(disturbed / "samples" / name),
              text_of(place / "undisturbed" / "samples" / name));
  }
}

TEST_F(RunResume, AnInterruptSavesTheLastStepAndTheRunGoesOn) {
  const std::string job = place.supervised_job();
  {
    Weft child({"run", job, "--dir", disturbed.string(), "--set", endless});
    ASSERT_TRUE(eventually([&] { return steps_of(disturbed) >= 13; }));
    child.signal(SIGINT);
    const Ended ended = child.wait();
    EXPECT_EQ(ended.code, 130) << ended.err;
    EXPECT_NE(ended.err.find("weft resume " + disturbed.string()), std::string::npos) << ended.err;
    EXPECT_TRUE(child.workers().empty());
  }
  const json last = lines_of(disturbed / "metrics.jsonl").back();
  char name[32];
  std::snprintf(name, sizeof name, "step-%09lld", last["step"].get<long long>());
  EXPECT_EQ(fs::read_symlink(disturbed / "ckpt" / "latest"), name) << "the last step is saved";
  EXPECT_EQ(weft({"status", disturbed.string(), "--expect", "stopped"}).code, 0);
  const std::string steps = some_steps_more();
  const Ended ended = weft({"resume", disturbed.string(), "--set", steps});
  ASSERT_EQ(ended.code, 0) << ended.err;
  expect_the_run(undisturbed(job, steps));
}

TEST_F(RunResume, InAnotherLayoutItGoesOnToTheSameLosses) {
  const std::string job = place.supervised_job();
  kill_when(
      job, [&] { return steps_of(disturbed) >= 33; }, {}, endless);
  const std::string dir = disturbed.string();
  const std::string steps = some_steps_more();
  const std::vector<json> expected = undisturbed(job, steps);
  const Ended refused = weft({"resume", dir, "--set", "pretrain.lr=2e-3"});
  EXPECT_EQ(refused.code, 78) << refused.err;
  EXPECT_NE(refused.err.find("pretrain.lr"), std::string::npos) << refused.err;
  const Ended ended = weft({"resume", dir, "--set", steps, "--set", "parallel.pipeline=1", "--set",
                            "parallel.data=1", "--set", "parallel.expert=1", "--set",
                            "parallel.schedule=1f1b", "--set", "parallel.micro_batches=8"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_NE(ended.err.find("saved by pipeline 2 x data 2, experts over 2, dualpipe"),
            std::string::npos)
      << ended.err;
  const std::vector<json> metrics = metrics_of(disturbed);
  ASSERT_EQ(metrics.size(), expected.size());
  for (std::size_t i = 30; i < expected.size(); ++i) {
    const double loss = expected[i]["loss"];
    EXPECT_NEAR(metrics[i]["loss"].get<double>(), loss, 1e-6 * loss) << "step " << i + 1;
  }
  // From here on this is the run's layout.
  EXPECT_EQ(weft({"resume", dir}).code, 0);
  const Ended shown = weft({"ckpt", "show", dir, "-o", "json"});
  EXPECT_EQ(json::parse(shown.out)["layout"]["schedule"], "1f1b") << shown.out;
}

TEST_F(RunResume, AFinishedRunHasNothingLeftToDo) {
  const std::string job = place.supervised_job();
  const std::vector<json> expected = undisturbed(job);
  const fs::path run = place / "undisturbed";
  for (const std::vector<std::string>& again :
       {std::vector<std::string>{"resume", run.string()},
        std::vector<std::string>{"run", job, "--dir", run.string()}}) {
    const Ended ended = weft(again);
    EXPECT_EQ(ended.code, 0) << ended.err;
    EXPECT_EQ(metrics_of(run), expected);
  }
}

}  // namespace
}  // namespace weft::test

// What the coordinator decides is carried out by real processes: a save that was asked for, and a
// slow node that is left out for a spare.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

class RunDecided : public testing::Test {
 protected:
  bool said(const std::string& what) const {
    return text_of(run / "events.jsonl").find(what) != std::string::npos;
  }
  void expect_steps_in_order() const {
    long long step = 0;
    for (const json& record : lines_of(run / "metrics.jsonl")) EXPECT_EQ(record["step"], ++step);
  }

  Place place;
  fs::path run = place / "run";
};

TEST_F(RunDecided, ASignalForACheckpointIsAnsweredByOneAfterTheStep) {
  Weft child({"run", place.supervised_job(), "--dir", run.string(), "--set",
              "pretrain.steps=100000", "--set", "checkpoint.every_steps=100000"});
  ASSERT_TRUE(eventually([&] { return steps_of(run) >= 3 || !child.running(); }));
  ::kill(child.pid(), SIGUSR1);
  EXPECT_TRUE(eventually([&] { return said(" as asked\"") || !child.running(); }));
  const std::vector<std::string> saved = checkpoints_of(run, false);
  EXPECT_EQ(saved.size(), 1u);
  child.signal(SIGINT);
  EXPECT_EQ(child.wait().code, 130);
  EXPECT_TRUE(said("(as asked)"));
  EXPECT_EQ(json::parse(text_of(run / "run.json"))["generation"], 1);
  expect_steps_in_order();
}

TEST_F(RunDecided, TheSignalToEveryProcessOfAStepSavesAndEndsNobodyAlsoWhileTheyStart) {
  Weft child({"run", place.supervised_job(), "--dir", run.string(), "--set",
              "pretrain.steps=100000", "--set", "checkpoint.every_steps=100000"});
  // Before that it is not yet the program that it will be.
  ASSERT_TRUE(eventually([&] { return fs::exists(run / "run.json") || !child.running(); }));
  ASSERT_TRUE(child.running());
  const auto signal_all = [&] {
    if (child.pid() > 0 && child.running()) ::kill(child.pid(), SIGUSR1);
    for (const pid_t pid : child.everybody())
      if (pid > 0) ::kill(pid, SIGUSR1);
  };
  // While the coordinator and the workers are started, and while these load and begin.
  ASSERT_TRUE(eventually([&] {
    signal_all();
    return (steps_of(run) >= 3 && said(" as asked\"")) || !child.running();
  }));
  const std::vector<pid_t> workers = child.workers();
  const pid_t coordinator = child.coordinator();
  EXPECT_EQ(workers.size(), 4u);
  const long long steps = steps_of(run);
  EXPECT_TRUE(eventually([&] {
    signal_all();
    return steps_of(run) >= steps + 3 || !child.running();
  }));
  EXPECT_EQ(child.workers(), workers);
  EXPECT_EQ(child.coordinator(), coordinator);
  EXPECT_FALSE(checkpoints_of(run, false).empty());
  child.signal(SIGINT);
  EXPECT_EQ(child.wait().code, 130);
  EXPECT_EQ(json::parse(text_of(run / "run.json"))["generation"], 1);
  EXPECT_FALSE(said("\"worker_failed\""));
  expect_steps_in_order();
}

TEST_F(RunDecided, ALastingStragglersNodeIsLeftOutAfterASaveAndTheSpareGoesOn) {
  const Ended prepared =
      weft({"run", place.supervised_job(), "--prepare", "--dir", run.string(), "--set",
            "pretrain.steps=100000", "--set", "checkpoint.every_steps=100000", "--set",
            "watch.swap_stragglers=true", "--set", "watch.straggler_window=3"});
  ASSERT_EQ(prepared.code, 0) << prepared.err;
  const auto arguments = [&](const char* node, const char* roster) {
    return std::vector<std::string>{"agent",    "--run", run.string(), "--node", node,
                                    "--roster", roster,  "--metrics",  "0"};
  };
  // Whoever has the first generation has the slow rank; the other is the spare.
  const std::vector<std::string> slow = {"WEFT_FAULT=do=slow at=compute rank=1 generation=1"};
  Weft a(arguments("a", "0"), {}, slow), b(arguments("b", "1"), {}, slow);
  EXPECT_TRUE(eventually(
      [&] {
        return (said("\"resumed\"") &&
                json::parse(text_of(run / "run.json"), nullptr, false).value("generation", 0) >=
                    2) ||
               !a.running() || !b.running();
      },
      std::chrono::seconds(90)));
  const long long steps = steps_of(run);
  EXPECT_TRUE(eventually([&] { return steps_of(run) > steps + 2; }));
  a.signal(SIGINT);
  EXPECT_EQ(a.wait().code, 130);
  EXPECT_EQ(b.wait().code, 130);
  EXPECT_TRUE(said(" is banned: rank ")) << text_of(run / "events.jsonl");
  EXPECT_TRUE(said("(as asked)"));
  EXPECT_TRUE(said(" is taken out: rank "));
  expect_steps_in_order();
}

}  // namespace
}  // namespace weft::test

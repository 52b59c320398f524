// A worker or the coordinator dies, stops or is interrupted: the run ends in time, says who, leaves
// nobody behind, and goes on when it is resumed. Bounds are those that the product promises.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

class RunFailure : public testing::Test {
 protected:
  /// A long run, by now in the middle of it: past its first checkpoint.
  std::unique_ptr<Weft> in_the_middle(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"run",   place.supervised_job(), "--dir", run.string(),
                                          "--set", "pretrain.steps=100000"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    auto child = std::make_unique<Weft>(arguments);
    EXPECT_TRUE(eventually([&] { return steps_of(run) >= 12 || !child->running(); }));
    EXPECT_TRUE(child->running());
    return child;
  }

  void expect_nobody_left(const Weft& child) {
    EXPECT_TRUE(eventually([&] { return child.workers().empty(); }, std::chrono::seconds(2)));
  }

  void expect_resumable() {
    const Ended ended = weft(
        {"resume", run.string(), "--set", "pretrain.steps=" + std::to_string(steps_of(run) + 3)});
    EXPECT_EQ(ended.code, 0) << ended.err;
    std::vector<long long> steps;
    for (const json& record : lines_of(run / "metrics.jsonl")) steps.push_back(record["step"]);
    for (std::size_t i = 0; i < steps.size(); ++i)
      ASSERT_EQ(steps[i], static_cast<long long>(i + 1));
  }

  Place place;
  fs::path run = place / "run";
};

TEST_F(RunFailure, AKilledWorkerEndsTheRunWithItsNameSignalAndLog) {
  const auto child = in_the_middle();
  const pid_t victim = child->worker(2);
  ASSERT_GT(victim, 0);
  child->signal(0);  // the clock starts
  ::kill(victim, SIGKILL);
  const Ended ended = child->wait(std::chrono::seconds(5));
  ASSERT_TRUE(ended.in_time) << ended.err;
  RecordProperty("seconds", std::to_string(ended.seconds));
  EXPECT_EQ(ended.code, 69) << ended.err;
  EXPECT_NE(ended.err.find("worker 2 died: signal 9 (Killed)"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("last lines of " + (run / "logs" / "worker-2.log").string()),
            std::string::npos)
      << ended.err;
  EXPECT_NE(ended.err.find("ready: rank 2 of 4"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("weft resume " + run.string()), std::string::npos) << ended.err;
  expect_nobody_left(*child);
  EXPECT_EQ(weft({"status", run.string(), "--expect", "failed"}).code, 0);
  expect_resumable();
}

TEST_F(RunFailure, AStoppedWorkerEndsTheRunWithWhoWaitedForWhom) {
  const auto child =
      in_the_middle({"--set", "control.wait_bound=2s", "--set", "control.heartbeat=1s"});
  const pid_t victim = child->worker(1);
  ASSERT_GT(victim, 0);
  child->signal(0);
  ::kill(victim, SIGSTOP);
  // The bound of the waits, and a second for whoever does not go by itself.
  const Ended ended = child->wait(std::chrono::seconds(8));
  ASSERT_TRUE(ended.in_time) << ended.err;
  RecordProperty("seconds", std::to_string(ended.seconds));
  EXPECT_EQ(ended.code, 124) << ended.err;
  // Whoever waited longest says so first: what it did, for whom, how long; then who was silent.
  for (const char* words :
       {" failed: ", " rank ", "no answer within 2000 ms", "worker 1 did not answer"})
    EXPECT_NE(ended.err.find(words), std::string::npos) << ended.err;
  expect_nobody_left(*child);
  expect_resumable();
}

TEST_F(RunFailure, WithoutItsCoordinatorNoWorkerStays) {
  const auto child = in_the_middle();
  ASSERT_EQ(child->workers().size(), 4u);
  child->kill_coordinator();
  EXPECT_TRUE(eventually([&] { return child->workers().empty(); }, std::chrono::seconds(2)));
  EXPECT_EQ(child->wait().signal, SIGKILL);
  EXPECT_EQ(weft({"status", run.string(), "--expect", "dead"}).code, 0);
  expect_resumable();
}

TEST_F(RunFailure, TwoInterruptsStopAtOnce) {
  const auto child = in_the_middle();
  child->signal(SIGINT);
  child->signal(SIGTERM);  // another number: two pending of the same would be one
  const Ended ended = child->wait(std::chrono::seconds(5));
  ASSERT_TRUE(ended.in_time) << ended.err;
  EXPECT_EQ(ended.code, 130) << ended.err;
  EXPECT_NE(ended.err.find("weft resume"), std::string::npos) << ended.err;
  expect_nobody_left(*child);
  expect_resumable();
}

TEST_F(RunFailure, AnInterruptBeforeTheFirstStepStopsToo) {
  Weft child({"run", place.supervised_job(), "--dir", run.string()});
  ASSERT_TRUE(eventually([&] { return child.workers().size() == 4; }));
  child.signal(SIGINT);
  const Ended ended = child.wait(std::chrono::seconds(20));
  ASSERT_TRUE(ended.in_time) << ended.err;
  EXPECT_EQ(ended.code, 130) << ended.err;
  expect_nobody_left(child);
  EXPECT_EQ(weft({"resume", run.string()}).code, 0);
  EXPECT_EQ(steps_of(run), 40);
}

TEST_F(RunFailure, AWorkerKilledWhileStartingIsNamed) {
  Weft child({"run", place.supervised_job(), "--dir", run.string()});
  pid_t victim = -1;
  ASSERT_TRUE(eventually([&] { return (victim = child.worker(3)) > 0 || !child.running(); }));
  child.signal(0);
  ::kill(victim, SIGKILL);
  const Ended ended = child.wait(std::chrono::seconds(5));
  ASSERT_TRUE(ended.in_time) << ended.err;
  EXPECT_EQ(ended.code, 69) << ended.err;
  EXPECT_NE(ended.err.find("worker 3 died: signal 9"), std::string::npos) << ended.err;
  expect_nobody_left(child);
}

}  // namespace
}  // namespace weft::test

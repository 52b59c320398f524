// A worker, the coordinator or the agent dies or stops, or a person interrupts: the run goes on
// from its newest checkpoint with the same numbers, or ends in time, says who, and leaves nobody
// behind.
#include <gtest/gtest.h>
#include <signal.h>

#include <set>

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
    EXPECT_TRUE(eventually([&] { return child.everybody().empty(); }, std::chrono::seconds(30)));
  }

  void expect_steps_in_order() {
    std::vector<long long> steps;
    for (const json& record : lines_of(run / "metrics.jsonl")) steps.push_back(record["step"]);
    for (std::size_t i = 0; i < steps.size(); ++i)
      ASSERT_EQ(steps[i], static_cast<long long>(i + 1));
  }

  void expect_resumable() {
    const Ended ended = weft(
        {"resume", run.string(), "--set", "pretrain.steps=" + std::to_string(steps_of(run) + 3)});
    EXPECT_EQ(ended.code, 0) << ended.err;
    expect_steps_in_order();
  }

  /// Of a run that failed: every decision's reason is, word for word, in the coordinator's log and
  /// the events, and the last one is what weft status says.
  void expect_one_reason_everywhere() {
    const Ended asked = weft({"status", run.string(), "-o", "json"});
    const json status = json::parse(asked.out, nullptr, false);
    ASSERT_TRUE(status.is_object()) << asked.out << asked.err;
    const std::string reason = status.value("reason", "");
    EXPECT_NE(reason, "");
    EXPECT_EQ(status.value("last_failure", ""), reason);
    EXPECT_NE(weft({"status", run.string()}).out.find("failed  (" + reason + ")"),
              std::string::npos);
    const std::string log = text_of(run / "logs" / "coordinator.log");
    std::size_t at = 0;
    std::string last, failed;
    for (const json& event : lines_of(run / "events.jsonl")) {
      if (event["kind"] == "failed") failed = event["message"];
      if (event["kind"] != "coordinator" && event["kind"] != "worker_failed") continue;
      last = event["message"];
      at = log.find(" info " + last + "\n", at);
      ASSERT_NE(at, std::string::npos) << "not in the log at its place: " << last << "\n" << log;
      at += last.size();
    }
    EXPECT_EQ(last, reason);
    EXPECT_EQ(failed, reason);
  }

  Place place;
  fs::path run = place / "run";
};

TEST_F(RunFailure, WithoutRetriesAnEarlyDeathEndsTheRunWithNameSignalAndLog) {
  Weft child({"run", place.supervised_job(), "--dir", run.string(), "--set", "control.retries=0"},
             {}, {"WEFT_FAULT=do=kill rank=2 at=forming"});
  const Ended ended = child.wait();
  EXPECT_EQ(ended.code, 69) << ended.err;
  for (const char* words : {"worker 2 on node", "died: signal 9 (Killed)", "last lines of",
                            "worker-2.log", "weft resume "})
    EXPECT_NE(ended.err.find(words), std::string::npos) << words << "\n" << ended.err;
  expect_nobody_left(child);
  EXPECT_EQ(weft({"status", run.string(), "--expect", "failed"}).code, 0);
  EXPECT_EQ(weft({"resume", run.string()}).code, 0);
  EXPECT_EQ(steps_of(run), 40);
  expect_steps_in_order();
}

TEST_F(RunFailure, ACrashLoopEndsWithItsCause) {
  Weft child({"run", place.supervised_job(), "--dir", run.string(), "--set", "control.retries=1"},
             {}, {"WEFT_FAULT=do=exit rank=1 at=forming generation=0"});
  const Ended ended = child.wait();
  EXPECT_EQ(ended.code, 69) << ended.err;
  EXPECT_NE(ended.err.find("worker 1 on node"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("2 generations in a row ended without a new step"), std::string::npos)
      << ended.err;
  expect_nobody_left(child);
}

TEST_F(RunFailure, AnErrorOfTheJobIsNotRetried) {
  Weft child({"run", place.supervised_job(), "--dir", run.string()}, {},
             {"WEFT_FAULT=do=fail rank=1 at=compute step=3"});
  const Ended ended = child.wait();
  EXPECT_EQ(ended.code, 78) << ended.err;
  EXPECT_NE(ended.err.find("an injected error"), std::string::npos) << ended.err;
  EXPECT_EQ(json::parse(text_of(run / "run.json"))["generation"], 1);
  expect_nobody_left(child);
  expect_one_reason_everywhere();
}

TEST_F(RunFailure, WithoutItsAgentNobodyStaysAndTheRunGoesOn) {
  const auto child = in_the_middle();
  ASSERT_EQ(child->workers().size(), 4u);
  ASSERT_GT(child->coordinator(), 0);
  child->kill_agent();
  expect_nobody_left(*child);
  EXPECT_EQ(child->wait().signal, SIGKILL);
  EXPECT_EQ(weft({"status", run.string(), "--expect", "dead"}).code, 0);
  expect_resumable();
}

TEST_F(RunFailure, TwoInterruptsStopAtOnce) {
  const auto child = in_the_middle();
  child->signal(SIGINT);
  child->signal(SIGTERM);  // another number: two pending of the same would be one
  const Ended ended = child->wait(std::chrono::seconds(60));
  ASSERT_TRUE(ended.in_time) << ended.err;
  EXPECT_EQ(ended.code, 130) << ended.err;
  EXPECT_NE(ended.err.find("weft resume"), std::string::npos) << ended.err;
  expect_nobody_left(*child);
  expect_resumable();
}

TEST_F(RunFailure, AnInterruptBeforeTheFirstStepStopsToo) {
  Weft child(
      {"run", place.supervised_job(), "--dir", run.string(), "--set", "pretrain.steps=100000"});
  ASSERT_TRUE(eventually([&] { return child.workers().size() == 4; }));
  child.signal(SIGINT);
  const Ended ended = child.wait(std::chrono::seconds(60));
  ASSERT_TRUE(ended.in_time) << ended.err;
  EXPECT_EQ(ended.code, 130) << ended.err;
  expect_nobody_left(child);
  expect_resumable();
}

}  // namespace
}  // namespace weft::test

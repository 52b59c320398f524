// A worker of a real run is stopped: the report names it, its action, and who waited for it.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

class RunWatch : public testing::Test {
 protected:
  /// Runs the job until `ready`, stops a worker there, and checks what the event says of it,
  /// whoever noticed first: the hang by the coordinator, or the stopped process by the agent. The
  /// run goes on and ends well.
  void name_the_stopped(int victim, std::vector<std::string> arguments,
                        const std::function<bool()>& ready) {
    for (const char* word : {"--dir", "", "--set", "control.hang_min=2s"})
      arguments.push_back(*word == 0 ? run.string() : word);
    Weft child(arguments);
    ASSERT_TRUE(eventually([&] { return ready() || !child.running(); }));
    ASSERT_TRUE(child.running());
    const pid_t pid = child.worker(victim);
    ASSERT_GT(pid, 0);
    ::kill(pid, SIGSTOP);
    const std::string name = "rank " + std::to_string(victim) + " ";
    const Ended ended = child.wait(std::chrono::seconds(120));
    ASSERT_TRUE(ended.in_time) << ended.err;
    EXPECT_EQ(ended.code, 0) << ended.err;
    int diagnoses = 0;
    for (const json& event : lines_of(run / "events.jsonl")) {
      if (event["kind"] != "diagnosis") continue;
      ++diagnoses;
      const std::string message = event["message"];
      EXPECT_NE(message.find(name), std::string::npos) << message;
      EXPECT_NE(message.find("its process is stopped"), std::string::npos) << message;
      EXPECT_EQ(event["culprit"], victim) << event.dump(2);
      EXPECT_EQ(event["culprits"].size(), 1u) << event.dump(2);
      EXPECT_EQ(event["culprits"][0]["why"], "stopped") << event.dump(2);
      EXPECT_FALSE(event["waits"].empty()) << event.dump(2);
    }
    EXPECT_EQ(diagnoses, 1);
  }

  std::vector<std::string> supervised(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"run", place.supervised_job(), "--set",
                                          "pretrain.steps=200"};
    for (const std::string& one : more) arguments.insert(arguments.end(), {"--set", one});
    return arguments;
  }

  Place place;
  fs::path run = place / "run";
};

TEST_F(RunWatch, NamesAStoppedRankOfADualPipeWithExpertShards) {
  name_the_stopped(2, supervised({}), [&] { return steps_of(run) >= 6; });
}

TEST_F(RunWatch, NamesAStoppedRankOf1F1BWithLanes) {
  name_the_stopped(1, supervised({"parallel.schedule=1f1b", "parallel.expert=1"}),
                   [&] { return steps_of(run) >= 6; });
}

TEST_F(RunWatch, NamesAStoppedRankDuringRollout) {
  // Long completions, so that nearly all of the time is rollout.
  name_the_stopped(1,
                   {"run", place.grpo_job(), "--set", "recipe=[grpo]", "--set", "grpo.steps=80",
                    "--set", "grpo.max_completion_length=64", "--set", "grpo.eval_every=0", "--set",
                    "checkpoint.every_steps=1000", "--set", "grpo.num_iterations=1"},
                   [&] { return steps_of(run) >= 2; });
}

TEST_F(RunWatch, OfADeadRunStatusTellsWhoWaitedAtTheEnd) {
  Weft child(
      {"run", place.supervised_job(), "--dir", run.string(), "--set", "pretrain.steps=100000"});
  ASSERT_TRUE(eventually([&] { return steps_of(run) >= 4 || !child.running(); }));
  const pid_t victim = child.worker(3);
  ASSERT_GT(victim, 0);
  ::kill(victim, SIGSTOP);
  ASSERT_TRUE(eventually(
      [&] {
        const Ended said = weft({"status", run.string(), "--waits", "-o", "json"});
        const json status = json::parse(said.out, nullptr, false);
        return status.is_object() && status["waiting"].value("waits", json::array()).size() == 3;
      },
      std::chrono::seconds(30)));
  child.kill_all();
  child.wait();
  const Ended said = weft({"status", run.string()});
  EXPECT_NE(said.out.find("waiting"), std::string::npos) << said.out;
  EXPECT_NE(said.out.find("waits for rank 3"), std::string::npos) << said.out;
}

}  // namespace
}  // namespace weft::test

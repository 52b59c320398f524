// A run whose ranks are spread over the agents of several nodes computes what one node computes,
// and goes on when one of the nodes is gone.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/runtime/nodes.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

class RunNodes : public testing::Test {
 protected:
  Place place;
  fs::path run = place / "run";
};

TEST_F(RunNodes, TwoNodesComputeTheSameBitsAsOneUntilOneIsAskedToStop) {
  const std::string job = place.supervised_job();
  Nodes nodes(job, run, {"--set", "pretrain.steps=100000"});
  nodes.start(0, 2, false, {"WEFT_FAULT=do=slow at=compute rank=3"});
  nodes.start(1, 2, false, {"WEFT_FAULT=do=slow at=compute rank=3"});
  ASSERT_TRUE(nodes.told("runs: all 4 workers are here"));
  EXPECT_TRUE(was_told(run, "4 ranks on 2 nodes"));

  // Nobody holds the run's lock, and yet it lives and is not to be touched.
  EXPECT_EQ(weft({"status", run.string(), "--expect", "running"}).code, 0);
  const Ended second = weft({"run", job, "--dir", run.string()});
  EXPECT_NE(second.code, 0);
  EXPECT_NE(second.err.find("is being run by the agents of several nodes"), std::string::npos)
      << second.err;

  EXPECT_TRUE(eventually([&] { return nodes.steps() >= 5 || !nodes.anybody_running(); }));
  nodes.agent(1).signal(SIGINT);
  EXPECT_EQ(nodes.end_with(130), "");
  EXPECT_EQ(weft({"status", run.string(), "--expect", "stopped"}).code, 0);
  const std::vector<json> metrics = metrics_of(run);
  EXPECT_EQ(metrics, metrics_on_one_node(job, metrics.size(), metrics.size() + 1));
}

TEST_F(RunNodes, ANodesLossCostsNothingThatItsPartnersMemoryHas) {
  const std::string job = place.supervised_job();
  Nodes nodes(job, run,
              {"--set", "pretrain.steps=100000", "--set", "checkpoint.every_steps=0", "--set",
               "checkpoint.memory_every_steps=3"});
  const std::vector<std::string> slow = {"WEFT_FAULT=do=slow at=compute rank=3"};
  nodes.start(0, 2, false, slow);
  nodes.start(1, 2, false, slow);
  ASSERT_TRUE(nodes.told("runs: all 4 workers are here"));
  nodes.start(2, 2, false, slow);  // a spare
  ASSERT_TRUE(nodes.told("each of 2 nodes keeping its own part and that of another one"));
  const auto event_of = [&](const std::string& kind) {
    json found;
    for (const json& event : lines_of(run / "events.jsonl"))
      if (event["kind"] == kind) found = event;
    return found;
  };
  const fs::path memory = event_of("memory_copies")["directory"].get<std::string>();
  const auto has_copy = [&] {
    std::error_code error;
    for (fs::directory_iterator entry(memory, error), end; !error && entry != end;
         entry.increment(error))
      if (fs::exists(entry->path() / "MANIFEST.json")) return true;
    return false;
  };
  ASSERT_TRUE(eventually([&] { return has_copy() || !nodes.anybody_running(); }));
  // A worker says at the end of a step what was copied before.
  const long long then = nodes.steps();
  ASSERT_TRUE(eventually([&] { return nodes.steps() >= then + 3 || !nodes.anybody_running(); }));
  ASSERT_TRUE(nodes.told("node n2 joined"));
  nodes.agent(1).kill_agent();  // its workers and its memory go with it

  ASSERT_TRUE(nodes.told("node n1 is lost"));
  ASSERT_TRUE(nodes.told("from the copy in memory of step"));
  ASSERT_TRUE(nodes.told("resumed from the copy in memory"));
  const long long step = event_of("resumed")["step"].get<long long>();
  EXPECT_GE(step, 3) << "there is no checkpoint on the disk";
  EXPECT_TRUE(eventually([&] { return nodes.steps() >= step + 5 || !nodes.anybody_running(); }));
  nodes.agent(0).signal(SIGINT);
  EXPECT_EQ(nodes.end_with(130), "");
  const std::vector<json> metrics = metrics_of(run);
  EXPECT_EQ(metrics, metrics_on_one_node(job, metrics.size(), metrics.size() + 1));
  EXPECT_FALSE(fs::exists(memory));
}

TEST_F(RunNodes, AnAddressThatIsNotThisNodesIsRefusedAtOnce) {
  const Nodes nodes(place.supervised_job(), run);
  for (const char* address : {"203.0.113.77", "0.0.0.0"}) {
    const Ended ended = weft({"agent", "--run", run.string(), "--listen", address});
    EXPECT_NE(ended.code, 0);
    EXPECT_NE(ended.err.find("--listen"), std::string::npos) << ended.err;
  }
}

TEST_F(RunNodes, OfAgentsThatAreAllGoneStatusSaysDead) {
  Nodes nodes(place.supervised_job(), run, {"--set", "pretrain.steps=100000"});
  Weft& agent = nodes.start(0, 4);
  ASSERT_TRUE(nodes.told("runs: all 4 workers are here"));
  agent.kill_agent();
  EXPECT_TRUE(eventually(
      [&] {
        return weft({"status", run.string(), "--expect", "dead"}).code == 0;
      },
      60s));
}

}  // namespace
}  // namespace weft::test

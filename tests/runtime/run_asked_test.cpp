// What people ask of a run that lives, from another terminal.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

class RunAsked : public testing::Test {
 protected:
  std::vector<std::string> endless() const {
    return {"run",   place.supervised_job(),   "--dir", run.string(),
            "--set", "pretrain.steps=1000000", "--set", "checkpoint.every_steps=1000000"};
  }
  std::string phase() const {
    return json::parse(text_of(run / "run.json"), nullptr, false).value("phase", "");
  }
  /// Asks, and expects to be told what was decided.
  void ask(const std::vector<std::string>& words, const std::string& answer) const {
    const Ended asked = weft(words);
    EXPECT_EQ(asked.code, 0) << asked.err;
    EXPECT_NE(asked.out.find(answer), std::string::npos) << asked.out;
  }

  Place place;
  fs::path run = place / "run";
};

TEST_F(RunAsked, PausesContinuesSavesAndStopsWithoutLosingAStep) {
  Weft child(endless());
  ASSERT_TRUE(eventually([&] { return steps_of(run) >= 3 || !child.running(); }));
  ask({"pause", run.string()}, "asked to pause");
  ASSERT_TRUE(eventually([&] { return phase() == "paused" || !child.running(); }));
  EXPECT_TRUE(eventually([&] { return child.workers().empty(); }));
  EXPECT_EQ(checkpoints_of(run, false).size(), 1u);
  const long long paused_at = steps_of(run);
  EXPECT_NE(weft({"status", run.string()}).out.find("paused"), std::string::npos);

  ask({"continue", run.string()}, "asked to continue");
  ASSERT_TRUE(eventually([&] { return steps_of(run) > paused_at + 2 || !child.running(); }));
  ask({"ckpt", "save", run.string()}, "asked to save");
  EXPECT_TRUE(eventually([&] { return checkpoints_of(run, false).size() == 2; }));
  ask({"cancel", run.string()}, "asked to stop");
  EXPECT_EQ(child.wait().code, 130);
  long long step = 0;
  for (const json& record : lines_of(run / "metrics.jsonl")) EXPECT_EQ(record["step"], ++step);
  EXPECT_TRUE(fs::is_empty(run / "requests"));
  EXPECT_EQ(weft({"status", run.string()}).out.find("last_failure"), std::string::npos)
      << "nothing has failed";
}

TEST_F(RunAsked, AnExcludedNodeIsLeftAloneUntilItIsIncludedAgain) {
  Weft child(endless());
  ASSERT_TRUE(eventually([&] { return steps_of(run) >= 3 || !child.running(); }));
  json nodes;  // told every two seconds
  ASSERT_TRUE(eventually([&] {
    nodes = json::parse(weft({"nodes", "ls", run.string(), "--json"}).out, nullptr, false)["items"];
    return nodes.size() == 1 || !child.running();
  }));
  ASSERT_EQ(nodes.size(), 1u);
  EXPECT_EQ(nodes[0]["state"], "here");
  EXPECT_EQ(nodes[0]["ranks"], json({0, 1, 2, 3}));
  EXPECT_EQ(nodes[0]["address"], "127.0.0.1");
  const std::string heard = nodes[0]["heard"];
  EXPECT_TRUE(eventually([&] {
    const json now =
        json::parse(weft({"nodes", "ls", run.string(), "--json"}).out, nullptr, false)["items"];
    return (now[0]["heard"].is_string() && now[0]["heard"] > heard) || !child.running();
  })) << "its last sign of life is never a later one";
  const std::string node = nodes[0]["node"];
  ask({"nodes", "exclude", run.string(), node, "--why", "its fan is loud"}, "its fan is loud");
  ASSERT_TRUE(eventually([&] { return phase() == "waiting" || !child.running(); }));
  EXPECT_NE(weft({"nodes", "ls", run.string()}).out.find("its fan is loud"), std::string::npos);
  const long long waited_at = steps_of(run);
  EXPECT_NE(weft({"nodes", "exclude", run.string(), "nobody", "--why", "a slip"})
                .err.find("No node of that name"),
            std::string::npos);
  ask({"nodes", "include", run.string(), node}, "may be used again");
  EXPECT_TRUE(eventually([&] { return steps_of(run) > waited_at + 2 || !child.running(); }));
  ask({"cancel", run.string(), "--now"}, "stop");
  EXPECT_EQ(child.wait().code, 130);
}

TEST_F(RunAsked, NobodyIsAskedWhereNobodyWorks) {
  const Ended ended =
      weft({"run", place.supervised_job(), "--dir", run.string(), "--set", "pretrain.steps=2"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const Ended asked = weft({"pause", run.string()});
  EXPECT_EQ(asked.code, 69);
  EXPECT_NE(asked.err.find("nobody works on"), std::string::npos) << asked.err;
  EXPECT_FALSE(fs::exists(run / "requests"));
}

TEST_F(RunAsked, ARequestThatCannotBeReadIsRefusedAloudAndHurtsNothing) {
  Weft child(endless());
  ASSERT_TRUE(eventually([&] { return steps_of(run) >= 1 || !child.running(); }));
  fs::create_directory(run / "requests");
  place.file("run/requests/1.json", "{\"version\":1,\"ask\":\"explode\"}");
  place.file("run/requests/2.json", std::string(100000, '['));
  EXPECT_TRUE(eventually([&] { return fs::is_empty(run / "requests") || !child.running(); }));
  const long long then = steps_of(run);
  EXPECT_TRUE(eventually([&] { return steps_of(run) > then + 2; }));
  EXPECT_NE(text_of(run / "events.jsonl").find("a request was refused: 1.json"), std::string::npos);
  child.signal(SIGINT);
  EXPECT_EQ(child.wait().code, 130);
}

}  // namespace
}  // namespace weft::test

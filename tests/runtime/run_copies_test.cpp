// Copies of the state that nodes keep in each other's memory, on real processes: a link between two
// partners that is cut, and partners that are lost together. Neither changes a number.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <optional>

#include "tests/runtime/link_cut.h"
#include "tests/runtime/nodes.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using namespace std::chrono_literals;

class RunCopies : public testing::Test {
 protected:
  json event_of(const std::string& kind) const {
    json found;
    for (const json& event : lines_of(run / "events.jsonl"))
      if (event["kind"] == kind) found = event;
    return found;
  }
  std::string said(const std::string& kind) const {
    const json event = event_of(kind);
    return event.is_object() ? event.value("message", "") : "";
  }
  /// The newest whole copy that the leader's node holds, or 0.
  long long newest_copy() const {
    const json told = event_of("memory_copies");
    if (!told.is_object()) return 0;
    long long newest = 0;
    std::error_code error;
    for (fs::directory_iterator entry(told.value("directory", ""), error), end;
         !error && entry != end; entry.increment(error)) {
      long long step = 0;
      if (std::sscanf(entry->path().filename().c_str(), "step-%lld", &step) == 1 &&
          fs::exists(entry->path() / "MANIFEST.json"))
        newest = std::max(newest, step);
    }
    return newest;
  }
  bool until(Nodes& nodes, const std::function<bool()>& is_so) {
    return eventually([&] { return is_so() || !nodes.anybody_running(); }) &&
           nodes.anybody_running();
  }
  bool goes_on(Nodes& nodes, long long steps = 6) {
    const long long then = nodes.steps();
    return until(nodes, [&] { return nodes.steps() >= then + steps; });
  }
  /// There is a copy of a step after this one, and the leader has heard of one.
  bool has_copy_after(Nodes& nodes, long long step) {
    // A worker says at the end of a step what was copied before.
    return until(nodes, [&] { return newest_copy() > step; }) && goes_on(nodes);
  }
  /// The one connection between the nodes' first workers whose ports nobody else talks to: the
  /// ranks' own are made from places where all of them listen.
  static std::vector<Connection> link_of_copies(Nodes& nodes) {
    std::vector<pid_t> workers;
    for (int rank = 0; rank < 4; ++rank) workers.push_back(nodes.agent(rank / 2).worker(rank));
    const std::vector<Connection> all = connections_among(workers);
    const auto uses = [&](int port) {
      return std::ranges::count_if(
          all, [&](const Connection& one) { return one.port[0] == port || one.port[1] == port; });
    };
    std::vector<Connection> found;
    for (const Connection& one : all)
      if (std::ranges::is_permutation(one.process, std::vector{workers[0], workers[2]}) &&
          uses(one.port[0]) == 1 && uses(one.port[1]) == 1)
        found.push_back(one);
    return found;
  }
  /// Two nodes of two ranks that keep copies of each other's state, and nothing on the disk; a
  /// spare. `link`: what they have made a copy over.
  void start_partners(Nodes& nodes, std::optional<Connection>& link) {
    for (int node = 0; node < 2; ++node) nodes.start(node, 2, false, slow);
    ASSERT_TRUE(nodes.told("each of 2 nodes keeping its own part and that of another one"));
    nodes.start(2, 2, false, slow);
    ASSERT_TRUE(nodes.told("node n2 joined"));
    ASSERT_TRUE(has_copy_after(nodes, 0));
    const auto links = link_of_copies(nodes);
    ASSERT_EQ(links.size(), 1u);
    link = links[0];
  }
  /// A machine that stands still for seconds loses a node of its own accord: that is another test.
  bool stood_still() const { return was_told(run, "is lost: no report for"); }
  void expect_undisturbed_numbers() {
    const std::vector<json> metrics = metrics_of(run);
    EXPECT_EQ(metrics, metrics_on_one_node(job, metrics.size(), metrics.size() + 1));
  }

  Place place;
  fs::path run = place / "run";
  const std::string job = place.supervised_job();
  const std::vector<std::string> in_memory = {"--set", "pretrain.steps=100000",
                                              "--set", "checkpoint.every_steps=0",
                                              "--set", "checkpoint.memory_every_steps=3"};
  const std::vector<std::string> slow = {"WEFT_FAULT=do=slow at=compute rank=3 generation=0"};
};

TEST_F(RunCopies, AClosedLinkBetweenPartnersEndsTheirCopiesAndTheCompleteOneBeforeIsGoneOnFrom) {
  if (!why_no_borrowing().empty()) GTEST_SKIP() << why_no_borrowing();
  Nodes nodes(job, run, in_memory);
  std::optional<Connection> link;
  ASSERT_NO_FATAL_FAILURE(start_partners(nodes, link));
  ASSERT_TRUE(close_both_ends(*link));

  ASSERT_TRUE(nodes.told("the state could not be copied into memory"));
  EXPECT_NE(said("warning").find("between node n0 and its partner n1: "), std::string::npos)
      << said("warning");
  ASSERT_TRUE(goes_on(nodes));
  if (stood_still()) GTEST_SKIP() << "this machine stood still";
  EXPECT_FALSE(was_told(run, "generation 1 ends")) << "no step waits for a copy";
  const long long copy = newest_copy();
  nodes.agent(1).kill_agent();
  ASSERT_TRUE(nodes.told("resumed from the copy in memory"));
  EXPECT_GE(event_of("resumed")["step"], 3);
  EXPECT_LE(event_of("resumed")["step"], copy) << "there was no later one";
  EXPECT_TRUE(goes_on(nodes));
  nodes.agent(0).signal(SIGINT);
  EXPECT_EQ(nodes.end_with(130), "");
  expect_undisturbed_numbers();
}

TEST_F(RunCopies, ALinkBetweenPartnersThatFallsSilentHoldsNobodyUpAndTheNewerCheckpointIsTaken) {
  if (!why_no_borrowing().empty()) GTEST_SKIP() << why_no_borrowing();
  Nodes nodes(job, run, in_memory);
  std::optional<Connection> link;
  ASSERT_NO_FATAL_FAILURE(start_partners(nodes, link));
  ASSERT_TRUE(cut_silently(*link));
  ASSERT_TRUE(goes_on(nodes, 12)) << "no step waits for a copy";
  const long long copy = newest_copy();

  ASSERT_EQ(Weft({"ckpt", "save", run.string()}).wait().code, 0);
  ASSERT_TRUE(until(nodes, [&] { return !checkpoints_of(run, false).empty(); }));
  if (stood_still()) GTEST_SKIP() << "this machine stood still";
  EXPECT_FALSE(was_told(run, "generation 1 ends"));
  nodes.agent(1).kill_agent();
  ASSERT_TRUE(nodes.told("resumed from"));
  EXPECT_EQ(said("resumed").find("copy in memory"), std::string::npos) << said("resumed");
  EXPECT_GT(event_of("resumed")["step"], copy);
  // The next generation's copies have a link of their own.
  ASSERT_TRUE(has_copy_after(nodes, event_of("resumed")["step"].get<long long>()));
  nodes.agent(0).signal(SIGINT);
  EXPECT_EQ(nodes.end_with(130), "");
  expect_undisturbed_numbers();
}

// Not in the ordinary run: once in seven runs on a machine with ten processes a core the words did
// not come within their minute. Try it with --gtest_also_run_disabled_tests.
TEST_F(RunCopies,
       DISABLED_WithBothHoldersOfAPartGoneItGoesBackToTheDiskAndSaysWhoseShardsAreMissing) {
  Nodes nodes(job, run, in_memory);
  for (int node = 0; node < 4; ++node) nodes.start(node, 1, false, slow);
  ASSERT_TRUE(nodes.told("each of 4 nodes keeping its own part and that of another one"));
  nodes.start(4, 2, false, slow);
  ASSERT_TRUE(nodes.told("node n4 joined"));
  ASSERT_EQ(Weft({"ckpt", "save", run.string()}).wait().code, 0);
  ASSERT_TRUE(until(nodes, [&] { return !checkpoints_of(run, false).empty(); }));
  const std::string saved = checkpoints_of(run, false)[0];
  const long long step = std::atoll(saved.c_str() + saved.find('-') + 1);
  ASSERT_TRUE(has_copy_after(nodes, step));

  // n2 keeps a replica of n1's part, and is lost with it.
  for (const int node : {1, 2}) nodes.agent(node).kill_agent();
  ASSERT_TRUE(nodes.told("is of no use: the shards of node n1 are on none of the nodes in use"));
  ASSERT_TRUE(until(nodes, [&] { return event_of("resumed").is_object(); }));
  EXPECT_EQ(event_of("resumed")["step"], step) << said("resumed");
  EXPECT_EQ(said("resumed").find("copy in memory"), std::string::npos) << said("resumed");
  EXPECT_TRUE(goes_on(nodes));
  nodes.agent(0).signal(SIGINT);
  EXPECT_EQ(nodes.end_with(130), "");
  expect_undisturbed_numbers();
}

}  // namespace
}  // namespace weft::test

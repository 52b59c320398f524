// A real run compares itself with the time model's prediction of it, once, by itself.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <set>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// A description of this host that is wrong by orders of magnitude, so that whatever the machine
/// does meanwhile the run drifts from it: products at a thousandth of a core's rate.
constexpr const char* kSlowHost =
    "name: absurd\n"
    "gpu:\n"
    "  name: CPU-worker\n"
    "  fp32: [1 MFLOP/s, invented]\n"
    "  bf16: [1 MFLOP/s, invented]\n"
    "  memory: [4 GB, invented]\n"
    "  memory_bandwidth: [1 GB/s, invented]\n"
    "node:\n"
    "  gpus: [4, invented]\n"
    "  cores: [2, invented]\n"
    "  nvlink_bandwidth: [1 GB/s, invented]\n"
    "network:\n"
    "  nodes: [1, invented]\n";

json drift_event(const std::string& run) {
  for (const json& event : lines_of(fs::path(run) / "events.jsonl"))
    if (event.value("kind", "") == "drift") return event;
  return {};
}

TEST(RunDrift, ARunThatKnowsItsHostSaysHowFarItsPhasesAreFromThePrediction) {
  const Place place;
  fs::create_directories(place / "config" / "weft");
  place.file("config/weft/this-host.yaml", kSlowHost);
  const std::string run = (place / "r").string();
  const std::vector<std::string> environment = {"XDG_CONFIG_HOME=" + (place / "config").string()};
  Weft child({"run", place.supervised_job(), "--dir", run, "--set", "pretrain.steps=100000"}, {},
             environment);
  ASSERT_TRUE(eventually([&] { return drift_event(run).is_object(); }, std::chrono::seconds(100)));
  const json event = drift_event(run);
  EXPECT_NE(event["message"].get<std::string>().find("this-host.yaml"), std::string::npos);
  EXPECT_EQ(fs::path(event["cluster"].get<std::string>()),
            place / "config" / "weft/this-host.yaml");
  const json step = event["step"];
  EXPECT_GT(step["predicted_seconds"].get<double>(), step["measured_seconds"].get<double>());
  ASSERT_FALSE(event["phases"].empty());
  std::set<int> ranks;
  for (const json& one : event["ranks"]) ranks.insert(one["rank"].get<int>());
  EXPECT_EQ(ranks, (std::set<int>{0, 1, 2, 3})) << "each phase of each rank";
  EXPECT_TRUE(eventually([&] {
    return weft({"status", run}).out.find("this-host.yaml") != std::string::npos;
  }));
  const Ended told = weft({"events", run, "--kind", "drift"});
  EXPECT_EQ(told.code, 0) << told.err;
  EXPECT_NE(told.out.find("drift"), std::string::npos) << told.out;
  child.signal(SIGINT);
  EXPECT_EQ(child.wait().code, 130);
}

}  // namespace
}  // namespace weft::test

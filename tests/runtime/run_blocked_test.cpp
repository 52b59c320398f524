// The control plane is on no step's way: whoever coordinates is blocked for half a minute, and
// training goes on.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

#include "tests/runtime/run_harness.h"

namespace weft::test {
namespace {

namespace fs = std::filesystem;
using SteadyClock = std::chrono::steady_clock;
using namespace std::chrono_literals;

/// Records that the agent has kept so far; the coordinator has no part in that.
std::ptrdiff_t records_kept(const fs::path& run) {
  std::ptrdiff_t lines = 0;
  for (const auto& entry : fs::directory_iterator(run / "spool")) {
    const std::string text = text_of(entry.path());
    lines += std::ranges::count(text, '\n');
  }
  return lines;
}

TEST(RunBlocked, StepsGoOnWhileTheCoordinatorStandsStillForHalfAMinute) {
  const Place place;
  const std::vector<std::string> settings = {"--set", "pretrain.steps=800", "--set",
                                             "checkpoint.every_steps=100", "-q"};
  const auto words = [&](const char* run) {
    std::vector<std::string> all = {"run", place.supervised_job(), "--dir", (place / run).string()};
    all.insert(all.end(), settings.begin(), settings.end());
    return all;
  };
  ASSERT_EQ(weft(words("undisturbed")).code, 0);

  const fs::path run = place / "run";
  // A step long enough that half a minute is within the run.
  Weft child(words("run"), {}, {"WEFT_FAULT=do=slow rank=2 at=compute step=0"});
  ASSERT_TRUE(eventually([&] { return steps_of(run) >= 5 || !child.running(); }));
  std::set<pid_t> blocked;
  std::ptrdiff_t kept = records_kept(run);
  const auto end = SteadyClock::now() + 30s;
  while (SteadyClock::now() < end && child.running()) {
    // Our agent ends one that does not answer and starts the next: that one is blocked as well.
    const pid_t leader = child.coordinator();
    if (leader > 0 && blocked.insert(leader).second) ::kill(leader, SIGSTOP);
    EXPECT_TRUE(eventually([&] { return records_kept(run) > kept || !child.running(); }, 30s))
        << "no step is done while nobody coordinates";
    kept = records_kept(run);
    std::this_thread::sleep_for(20ms);
  }
  EXPECT_TRUE(child.running()) << "the run was too short for this test";
  for (const pid_t pid : blocked) ::kill(pid, SIGCONT);
  const Ended ended = child.wait(300s);
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(nlohmann::json::parse(text_of(run / "run.json"))["restarts"], 0) << ended.err;
  EXPECT_EQ(metrics_of(run), metrics_of(place / "undisturbed"));
  EXPECT_TRUE(eventually([&] { return child.everybody().empty(); }, 30s));
}

}  // namespace
}  // namespace weft::test

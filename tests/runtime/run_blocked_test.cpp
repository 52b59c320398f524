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
using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kBound = 120s;  // for what would else hang

/// Records that the agent has kept so far; the coordinator has no part in that.
std::ptrdiff_t records_kept(const fs::path& run) {
  std::ptrdiff_t lines = 0;
  for (const auto& entry : fs::directory_iterator(run / "spool")) {
    const std::string text = text_of(entry.path());
    lines += std::ranges::count(text, '\n');
  }
  return lines;
}

class RunBlocked : public testing::Test {
 protected:
  std::vector<std::string> words(const fs::path& run) const {
    return {"run",   place.supervised_job(),  "--dir", run.string(),
            "--set", "pretrain.steps=100000", "--set", "checkpoint.every_steps=20"};
  }
  /// Ends in good order, every step it made written down.
  void stop(Weft& child) {
    child.signal(SIGINT);
    const Ended ended = child.wait(kBound);
    EXPECT_EQ(ended.code, 130) << ended.err;
    EXPECT_TRUE(eventually([&] { return child.everybody().empty(); }, kBound));
  }

  Place place;
};

TEST_F(RunBlocked, StepsGoOnWhileTheCoordinatorStandsStillForHalfAMinute) {
  const fs::path run = place / "run";
  // Longer steps, so that the run without a disturbance soon has as many.
  Weft child(words(run), {}, {"WEFT_FAULT=do=slow rank=2 at=compute step=0"});
  ASSERT_TRUE(eventually([&] { return steps_of(run) >= 3 || !child.running(); }, kBound));
  std::set<pid_t> blocked;
  std::ptrdiff_t kept = records_kept(run);
  const auto end = SteadyClock::now() + 30s;
  while (SteadyClock::now() < end && child.running()) {
    // Our agent ends one that does not answer and starts the next: that one is blocked as well.
    const pid_t leader = child.coordinator();
    if (leader > 0 && blocked.insert(leader).second) ::kill(leader, SIGSTOP);
    ASSERT_TRUE(eventually([&] { return records_kept(run) > kept || !child.running(); }, kBound))
        << "no step is done while nobody coordinates";
    kept = records_kept(run);
    std::this_thread::sleep_for(20ms);
  }
  ASSERT_TRUE(child.running()) << child.wait().err;
  for (const pid_t pid : blocked) ::kill(pid, SIGCONT);
  EXPECT_TRUE(eventually([&] { return steps_of(run) + 10 >= kept || !child.running(); }, kBound));
  stop(child);
  EXPECT_EQ(json::parse(text_of(run / "run.json"))["restarts"], 0);

  const std::vector<json> got = metrics_of(run);
  Weft quick(words(place / "undisturbed"));
  EXPECT_TRUE(eventually(
      [&] { return steps_of(place / "undisturbed") >= steps_of(run) || !quick.running(); },
      kBound));
  stop(quick);
  std::vector<json> wanted = metrics_of(place / "undisturbed");
  ASSERT_GE(wanted.size(), got.size());
  wanted.resize(got.size());
  EXPECT_EQ(got, wanted) << "a step was lost, counted twice or came out otherwise";
}

}  // namespace
}  // namespace weft::test

// Seeds that run with every change. `weft-sim --seeds N --from S` runs others.
#include <gtest/gtest.h>

#include <sstream>

#include "tests/sim/scenario.h"

namespace weft::runtime::sim {
namespace {

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += "\n  " + line;
  return text;
}

class Seeds : public testing::TestWithParam<int> {};

TEST_P(Seeds, KeepEveryPromiseUnderFaultsAndEndOnceTheyAreHealed) {
  const int first = GetParam();
  for (int seed = first; seed < first + 50; ++seed) {
    const Verdict verdict = run_scenario(draw_scenario(static_cast<std::uint64_t>(seed)));
    EXPECT_TRUE(verdict.broken.empty())
        << "see it again with: weft-sim --seed " << seed << " --log" << joined(verdict.broken);
  }
}

INSTANTIATE_TEST_SUITE_P(Sim, Seeds, testing::Values(1, 51, 101, 151));

TEST(SimulatedCluster, RunsTheSameSeedTheSameWay) {
  for (std::uint64_t seed = 1000; seed < 1010; ++seed) {
    const Scenario scenario = draw_scenario(seed);
    const Verdict one = run_scenario(scenario), two = run_scenario(scenario);
    EXPECT_EQ(one.summary.hash, two.summary.hash) << "seed " << seed;
    EXPECT_EQ(one.summary.at, two.summary.at);
    EXPECT_EQ(one.summary.messages, two.summary.messages);
  }
}

Scenario large(int nodes, int slots, int spares) {
  Scenario scenario = quiet_scenario(nodes, slots, (nodes - spares) * slots);
  scenario.model.num_steps = 12;
  scenario.model.save_every = 4;
  scenario.heal_at = std::chrono::seconds(20);
  scenario.options.agent_tick = std::chrono::milliseconds(250);
  // Fewer distinct turns: with thousands of candidates the first one's is soon enough.
  scenario.faults.push_back({Fault::Kind::LoseNode, std::chrono::seconds(4), nodes / 2,
                             std::chrono::seconds(60), Code::Internal});
  return scenario;
}

TEST(SimulatedCluster, OfHundredsOfNodesReplacesOneByASpare) {
  const Verdict verdict = run_scenario(large(256, 8, 2));
  EXPECT_TRUE(verdict.broken.empty()) << joined(verdict.broken);
  EXPECT_EQ(verdict.summary.end.outcome, Outcome::Finished) << verdict.summary.end.reason;
  EXPECT_EQ(verdict.generations, 2);
}

TEST(SimulatedCluster, OfTwoThousandNodesLosesItsLeaderAndGoesOn) {
  Scenario scenario = large(2000, 1, 2);
  scenario.faults.push_back(
      {Fault::Kind::KillCoordinator, std::chrono::seconds(9), 0, Duration::zero(), Code::Internal});
  const Verdict verdict = run_scenario(scenario);
  EXPECT_TRUE(verdict.broken.empty()) << joined(verdict.broken);
  EXPECT_EQ(verdict.summary.end.outcome, Outcome::Finished) << verdict.summary.end.reason;
  EXPECT_GE(verdict.terms, 2);
}

}  // namespace
}  // namespace weft::runtime::sim

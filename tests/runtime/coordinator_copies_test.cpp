// Copies in memory that nodes keep in parts, each with a replica of its partner's: which of them
// are whole where, and which a generation resumes from.
#include <gtest/gtest.h>

#include "tests/runtime/coordinator_bench.h"

namespace weft::runtime {
namespace {

using namespace std::chrono_literals;
using Bench = CoordinatorBench;

/// Two ranks on nodes a and b and a spare c. Each node keeps its own part of the state of step 45
/// and a replica of the other's.
void copy_to_partners(Bench& bench) {
  bench.run(3, 1);
  const Checkpoint copy{45, 1, in_memory("step-45")};
  bench.of("a").copies = {{copy, 2, 0, 1}};
  bench.of("b").copies = {{copy, 2, 1, 0}};
  bench.say("a");
  bench.say("b");
}

void lose_node(Bench& bench, const std::string& node) {
  bench.silent.insert(node);
  bench.beat(5s);
  bench.let_end();
}

TEST(CoordinatorCopies, AfterANodesLossItsPartnersReplicaMakesTheCopyWhole) {
  Bench bench(2);
  copy_to_partners(bench);
  lose_node(bench, "b");
  ASSERT_EQ(bench.state.phase, RunPhase::Claiming);
  bench.let_form({{40, 1, "step-40"}});
  EXPECT_EQ(bench.state.placement[0].node, "a");
  EXPECT_EQ(bench.state.placement[1].node, "c");
  ASSERT_TRUE(bench.state.resume);
  EXPECT_EQ(bench.state.resume->name, "memory/step-45");
}

TEST(CoordinatorCopies, WhenBothPartnersAreLostItGoesBackToTheDiskAndSaysWhy) {
  Bench bench(2);
  bench.run(5, 1);
  // Three parts in a ring: a keeps a and c, b keeps b and a; c, which keeps c and b, has no ranks.
  const Checkpoint copy{45, 1, in_memory("step-45")};
  bench.of("a").copies = {{copy, 3, 0, 2}};
  bench.of("b").copies = {{copy, 3, 1, 0}};
  bench.of("c").copies = {{copy, 3, 2, 1}};
  for (const char* node : {"a", "b", "c"}) bench.say(node);
  bench.silent = {"a", "b"};
  bench.beat(5s);
  bench.let_end();
  bench.let_form({{40, 1, "step-40"}});
  ASSERT_TRUE(bench.state.resume);
  EXPECT_EQ(bench.state.resume->name, "step-40");
  EXPECT_TRUE(
      bench.said("the copy in memory of step 45 is of no use: the shards of node a are on "
                 "none of the nodes in use"))
      << bench.reasons;
}

TEST(CoordinatorCopies, OfACopyThatNotAllHaveTheOneBeforeIsTaken) {
  Bench bench(2);
  copy_to_partners(bench);
  // b was lost while its part of step 50 was on its way: only a has committed. Whose part it is
  // the copy before tells.
  bench.of("a").copies.push_back({{50, 1, in_memory("step-50")}, 2, 0, -1});
  bench.say("a");
  lose_node(bench, "b");
  bench.let_form();
  ASSERT_TRUE(bench.state.resume);
  EXPECT_EQ(bench.state.resume->name, "memory/step-45");
  EXPECT_TRUE(bench.said("the copy in memory of step 50 is of no use: the shards of node b are on"))
      << bench.reasons;
}

TEST(CoordinatorCopies, PartsOfDifferentGenerationsAreNotMixed) {
  Bench bench(2);
  copy_to_partners(bench);
  bench.of("b").copies[0].checkpoint.generation = 0;
  bench.of("a").copies[0].replica = -1;
  bench.of("b").copies[0].replica = -1;
  bench.say("a");
  bench.say("b");
  bench.die(0);
  bench.let_end();
  bench.let_form({{40, 1, "step-40"}});
  EXPECT_EQ(bench.state.resume->name, "step-40");
}

TEST(CoordinatorCopies, NodesThatDisagreeAboutTheNumberOfPartsHaveNone) {
  Bench bench(2);
  copy_to_partners(bench);
  bench.of("b").copies[0].parts = 3;
  bench.say("b");
  bench.die(0);
  bench.let_end();
  bench.let_form({{40, 1, "step-40"}});
  EXPECT_EQ(bench.state.resume->name, "step-40");
}

}  // namespace
}  // namespace weft::runtime

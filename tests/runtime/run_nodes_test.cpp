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

TEST_F(RunNodes, TwoNodesComputeTheSameBitsAsOne) {
  Nodes nodes(place.supervised_job(), run);
  nodes.start(0, 2);
  nodes.start(1, 2);
  ASSERT_TRUE(nodes.told("runs: all 4 workers are here"));
  EXPECT_TRUE(was_told(run, "4 ranks on 2 nodes"));
  EXPECT_EQ(nodes.end_with(0), "");
  EXPECT_EQ(metrics_of(run), metrics_on_one_node(place.supervised_job()));
}

}  // namespace
}  // namespace weft::test

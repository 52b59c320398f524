// Which transports are held to their promises (conformance_*.cpp), and at which sizes of world.
#include "tests/comm/conformance.h"

#include "tests/comm/mpirun.h"

namespace weft::comm {
namespace {

std::vector<Case> cases() {
  if (const int ranks = ranks_under_mpi()) return {{Mode::mpi, ranks}};
  std::vector<Case> all{{Mode::self, 1}};
  for (const Mode mode : {Mode::threads, Mode::processes, Mode::sim, Mode::tcp})
    for (const int ranks : {1, 2, 4, 7}) all.push_back({mode, ranks});
  for (const int ranks : {2, 7}) all.push_back({Mode::hybrid, ranks});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Transport, Conformance, testing::ValuesIn(cases()),
                         [](const auto& tested) {
                           return std::string(to_string(tested.param.mode)) +
                                  std::to_string(tested.param.ranks);
                         });

class ConformanceOverMpi : public testing::TestWithParam<int> {};

// The cases above, by this binary itself under mpirun.
TEST_P(ConformanceOverMpi, KeepsTheWholePromise) {
  if (const std::string why = why_no_mpi(); !why.empty()) GTEST_SKIP() << why;
  const std::string ranks = std::to_string(GetParam());
  const MpiRun run = run_under_mpi(GetParam(), "Transport/Conformance.*/mpi" + ranks);
  EXPECT_EQ(run.exit_code, 0) << run.output;
  EXPECT_NE(run.output.find("[  PASSED  ]"), std::string::npos) << run.output;
}

INSTANTIATE_TEST_SUITE_P(Ranks, ConformanceOverMpi, testing::Values(1, 2, 4, 7),
                         testing::PrintToStringParamName());

TEST(CommunicatorDeathTest, ATagOfTheCollectivesIsRefused) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      run_ranks(Mode::self, 1, [](Communicator& group) { (void)group.start_send(0, ~Tag{0}, {}); }),
      "collectives");
}

}  // namespace
}  // namespace weft::comm

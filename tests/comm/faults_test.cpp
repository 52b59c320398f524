// Every operation with a peer that is killed (SIGKILL) or stopped (SIGSTOP), over every transport
// with processes, and simulated: whoever depends on the peer ends with an error that names it, the
// operation and the action served.
#include <signal.h>

#include <cstring>
#include <functional>
#include <iostream>
#include <string>

#include "tests/comm/mpirun.h"
#include "tests/comm/ranks.h"

namespace weft::comm {
namespace {

using std::chrono::milliseconds;

constexpr char kAction[] = "F mb 3 dir 0 stage 1";
constexpr int kVictim = 2;  // of the ranks 0, 1 and 2 of each group

struct FaultOperation {
  std::string name;
  std::string in_error;
  /// What a survivor does; the victim takes no part.
  std::function<Expected<void>(Communicator&)> run;
  bool only_rank_0 = false;  // depends on the victim
};

std::vector<FaultOperation> operations() {
  static float values[30];
  static std::byte bytes[30];
  static const std::vector<std::byte> big(std::size_t{3} << 20);  // no transport buffers it
  static const std::size_t lengths[3] = {10, 10, 10};
  return {
      {"receive", "receiving from rank 2, tag 0x7",
       [](Communicator& g) -> Expected<void> {
         WEFT_TRY(receive(g, kVictim, 7, bytes));
         return {};
       }},
      {"barrier", "barrier #1", [](Communicator& g) { return barrier(g); }},
      {"broadcast", "broadcast #1", [](Communicator& g) { return broadcast(g, kVictim, bytes); }},
      {"all_gather", "all_gather #1",
       [](Communicator& g) { return all_gather(g, ConstBytes(bytes).first(10), Bytes(bytes)); }},
      {"all_reduce", "all_reduce #1",
       [](Communicator& g) { return all_reduce_sum(g, std::span<float>(values)); }},
      {"reduce", "reduce #1",
       [](Communicator& g) { return reduce_sum(g, 0, std::span<float>(values)); }, true},
      {"reduce_scatter", "reduce_scatter #1",
       [](Communicator& g) {
         return reduce_scatter_sum(g, std::span<const float>(values),
                                   std::span<float>(values).first(10));
       }},
      {"all_to_all_v", "all_to_all #1",
       [](Communicator& g) {
         std::byte out[30];
         return all_to_all_v(g, bytes, lengths, out, lengths);
       }},
      // Last: over MPI, a long message that is left half-way ends all groups of its process.
      {"send", "sending to rank 2, tag 0x8",
       [](Communicator& g) { return send(g, kVictim, 8, big); }}};
}

void survive(Communicator& group, const FaultOperation& operation, milliseconds bound, Code code) {
  group.set_wait_bound(bound);
  group.set_serving(kAction);
  const Expected<void> result = operation.run(group);
  if (operation.only_rank_0 && group.rank() != 0) return;
  ASSERT_FALSE(result) << operation.name;
  EXPECT_EQ(result.error().code, code) << result.error().message;
  for (const std::string& part : {std::string("rank 2"), operation.in_error, std::string(kAction)})
    EXPECT_NE(result.error().message.find(part), std::string::npos)
        << operation.name << ": " << result.error().message;
}

class Fault : public testing::TestWithParam<int> {  // the signal
 protected:
  static bool killed() { return GetParam() == SIGKILL; }
};

TEST_P(Fault, EndsEveryOperationOverSharedMemoryWithTheCulpritsName) {
  for (const FaultOperation& operation : operations()) {
    const SharedCounters counters;
    auto world = LocalWorld::create(3);
    ASSERT_TRUE(world);
    std::vector<pid_t> ranks;
    for (int r = 0; r < 3; ++r)
      ranks.push_back(fork_rank([&, r] {
        join_and_run(*world, r, [&](Communicator& group) {
          check(barrier(group));
          counters.at(0)->fetch_add(1);
          if (r == kVictim) ::raise(GetParam());
          // A killed rank is noticed by its parent, which ends the world; a stopped one by nobody.
          survive(group, operation, milliseconds(killed() ? 30'000 : 150),
                  killed() ? Code::Unavailable : Code::DeadlineExceeded);
        });
      }));
    int status = 0;
    ASSERT_EQ(::waitpid(ranks[kVictim], &status, WUNTRACED), ranks[kVictim]);
    while (counters.at(0)->load() < 3) std::this_thread::sleep_for(milliseconds(1));
    if (killed()) world->abort("rank 2 was killed by signal 9");
    EXPECT_EQ(exit_status(ranks[0]), 0) << operation.name;
    EXPECT_EQ(exit_status(ranks[1]), 0) << operation.name;
    if (killed()) continue;
    ::kill(ranks[kVictim], SIGKILL);
    exit_status(ranks[kVictim]);
  }
}

/// Nobody but the ranks themselves: who is killed is noticed by its links. With `near_victim` the
/// ranks 0 and 2 share a node.
void run_fault_over_tcp(const FaultOperation& operation, int signal, bool near_victim) {
  const bool killed = signal == SIGKILL;
  TcpRanks ranks(3, false);
  if (near_victim) {
    ranks.options.node_of_rank = {0, 1, 0};
    ranks.nodes.push_back(*LocalWorld::create(2));
    ranks.nodes.push_back(*LocalWorld::create(1));
  }
  const SharedCounters counters;
  std::vector<pid_t> children;
  for (int r = 0; r < 3; ++r)
    children.push_back(fork_rank([&, r] {
      auto transport = ranks.join(r);
      ASSERT_TRUE(transport) << transport.error().message;
      run_rank(**transport, [&](Communicator& group) {
        check(barrier(group));
        counters.at(0)->fetch_add(1);
        while (counters.at(0)->load() < 3) std::this_thread::sleep_for(milliseconds(1));
        if (r == kVictim) ::raise(signal);
        survive(group, operation, milliseconds(killed ? 30'000 : 150),
                killed ? Code::Unavailable : Code::DeadlineExceeded);
      });
      // A rank that leaves must not be what ends the other's wait.
      counters.at(1)->fetch_add(1);
      while (counters.at(1)->load() < 2) std::this_thread::sleep_for(milliseconds(1));
    }));
  int status = 0;
  ASSERT_EQ(::waitpid(children[kVictim], &status, WUNTRACED), children[kVictim]);
  EXPECT_EQ(exit_status(children[0]), 0) << operation.name;
  EXPECT_EQ(exit_status(children[1]), 0) << operation.name;
  if (killed) return;
  ::kill(children[kVictim], SIGKILL);
  exit_status(children[kVictim]);
}

TEST_P(Fault, EndsEveryOperationOverTcpWithTheCulpritsName) {
  for (const FaultOperation& operation : operations())
    run_fault_over_tcp(operation, GetParam(), false);
}

TEST_P(Fault, EndsEveryOperationOverTcpAndSharedMemoryWithTheCulpritsName) {
  for (const FaultOperation& operation : operations())
    run_fault_over_tcp(operation, GetParam(), true);
}

TEST_P(Fault, EndsEveryOperationOnSimulatedTimeWithTheCulpritsName) {
  for (const FaultOperation& operation : operations()) {
    SimOptions options;
    options.eager_bytes_max = 64 << 10;
    SimWorld world(3, options);
    killed() ? world.kill_at(kVictim, milliseconds(1)) : world.stop_at(kVictim, milliseconds(1));
    world.run([&](const SimWorld::Rank& rank) {
      run_rank(rank.transport, [&](Communicator& group) {
        check(barrier(group));
        if (rank.rank == kVictim) return rank.clock.sleep_until(Instant::max());
        survive(group, operation, milliseconds(500),
                killed() ? Code::Unavailable : Code::DeadlineExceeded);
        const Duration ended = rank.clock.now().time_since_epoch();
        EXPECT_LE(ended, milliseconds(killed() ? 1 : 500));
      });
    });
  }
}

class FaultUnderMpi : public testing::TestWithParam<int> {};

// Under mpirun: the ranks 0 and 1, and one victim for each operation.
TEST_P(FaultUnderMpi, EndsEveryOperationWithTheCulpritsName) {
  const SharedCounters counters;
  Transport& transport = mpi_transport();
  const auto all = operations();
  std::vector<GroupSpec> specs;
  for (std::size_t i = 0; i < all.size(); ++i)
    specs.push_back({all[i].name, {0, 1, 2 + static_cast<int>(i)}});
  auto groups = value_of(transport.make_groups(specs));
  ASSERT_EQ(groups.size(), specs.size());
  const bool survivor = transport.world_rank() < 2;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (groups[i] == nullptr) continue;
    groups[i]->set_wait_bound(std::chrono::seconds(20));
    check(barrier(*groups[i]));
    if (!survivor) {
      counters.at(10 + static_cast<int>(i))->store(::getpid());
      ::raise(GetParam());
      return;
    }
    survive(*groups[i], all[i], milliseconds(300), Code::DeadlineExceeded);
    if (!HasFailure()) counters.at(transport.world_rank())->fetch_add(1);
  }
  // mpirun would wait for those that are only stopped.
  counters.at(2)->fetch_add(1);
  while (transport.world_rank() == 0 && counters.at(2)->load() < 2)
    std::this_thread::sleep_for(milliseconds(1));
  for (std::size_t i = 0; i < all.size(); ++i)
    if (transport.world_rank() == 0) ::kill(counters.at(10 + static_cast<int>(i))->load(), SIGKILL);
  groups.clear();
}

TEST_P(Fault, EndsEveryOperationOverMpiWithTheCulpritsName) {
  if (const std::string why = why_no_mpi(); !why.empty()) GTEST_SKIP() << why;
  const int count = static_cast<int>(operations().size());
  const MpiRun run =
      run_under_mpi(2 + count, std::string("*FaultUnderMpi*/") + (killed() ? "killed" : "stopped"),
                    {"--enable-recovery"});
  // mpirun's own exit code says nothing here.
  EXPECT_EQ(run.shared[0], count) << run.output;
  EXPECT_EQ(run.shared[1], count) << run.output;
  EXPECT_EQ(run.segments_left, 0) << "shared memory of Open MPI is left behind";
}

std::string name_of(const testing::TestParamInfo<int>& tested) {
  return tested.param == SIGKILL ? "killed" : "stopped";
}

const std::vector<int> kSignals = {SIGKILL, SIGSTOP}, kNone = {};

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Fault);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FaultUnderMpi);
INSTANTIATE_TEST_SUITE_P(Peer, Fault, testing::ValuesIn(ranks_under_mpi() != 0 ? kNone : kSignals),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Peer, FaultUnderMpi,
                         testing::ValuesIn(ranks_under_mpi() != 0 ? kSignals : kNone), name_of);

}  // namespace
}  // namespace weft::comm

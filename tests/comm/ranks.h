// Runs a body once per rank: in this process alone, on one thread each, or in one forked process
// each. A failed expectation anywhere fails the test.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "comm/local/local_transport.h"
#include "comm/sim/sim_world.h"

namespace weft::comm {

enum class Mode { self, threads, processes, sim };

inline const char* to_string(Mode mode) {
  switch (mode) {
    case Mode::self:
      return "self";
    case Mode::threads:
      return "threads";
    case Mode::processes:
      return "processes";
    case Mode::sim:
      return "sim";
  }
  return "";
}

using RankBody = std::function<void(Communicator&)>;

inline void run_rank(Transport& transport, const RankBody& body) {
  GroupSpec spec{"all", {}};
  for (int r = 0; r < transport.world_size(); ++r) spec.ranks.push_back(r);
  auto groups = transport.make_groups(std::span(&spec, 1));
  ASSERT_TRUE(groups) << groups.error().message;
  groups->at(0)->set_wait_bound(std::chrono::seconds(60));
  body(*groups->at(0));
}

inline void join_and_run(const LocalWorld& world, int rank, const RankBody& body) {
  auto transport = world.join(rank);
  ASSERT_TRUE(transport) << transport.error().message;
  run_rank(**transport, body);
}

/// A child that runs `body` and ends with 0 when all its expectations held.
inline pid_t fork_rank(const std::function<void()>& body) {
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  body();
  std::fflush(nullptr);
  ::_exit(::testing::Test::HasFailure() ? 1 : 0);
}

inline int exit_status(pid_t pid) {
  int status = -1;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return status;
}

inline void run_ranks(Mode mode, int n, const RankBody& body) {
  if (mode == Mode::self) {
    run_rank(*make_self_transport(), body);
    return;
  }
  if (mode == Mode::sim) {
    // Messages take time, and the long ones wait for their receives, as on a real network.
    SimOptions options;
    options.link = [](int from, int to) {
      return SimLink{std::chrono::microseconds(5 + 3 * from + to), 1e10};
    };
    options.eager_bytes_max = 64 << 10;
    SimWorld(n, options).run([&](const SimWorld::Rank& rank) { run_rank(rank.transport, body); });
    return;
  }
  auto world = LocalWorld::create(n);
  ASSERT_TRUE(world) << world.error().message;
  if (mode == Mode::threads) {
    std::vector<std::jthread> ranks;
    for (int r = 0; r < n; ++r)
      ranks.emplace_back([&world, &body, r] { join_and_run(*world, r, body); });
    return;
  }
  std::vector<pid_t> ranks;
  for (int r = 0; r < n; ++r)
    ranks.push_back(fork_rank([&, r] {
      auto own = LocalWorld::attach(world->descriptor());
      ASSERT_TRUE(own) << own.error().message;
      join_and_run(*own, r, body);
    }));
  for (int r = 0; r < n; ++r)
    EXPECT_EQ(exit_status(ranks[static_cast<std::size_t>(r)]), 0) << "rank " << r;
}

/// The value, or a failed expectation and a default.
template <class T>
T value_of(Expected<T> result) {
  EXPECT_TRUE(result) << result.error().message;
  return result ? std::move(*result) : T{};
}
inline void check(const Expected<void>& result) { EXPECT_TRUE(result) << result.error().message; }

}  // namespace weft::comm

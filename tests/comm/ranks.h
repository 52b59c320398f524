// Runs a body once per rank: in this process alone, on one thread each, or in one forked process
// each. A failed expectation anywhere fails the test.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "comm/local/local_transport.h"
#include "comm/mpi/mpi_transport.h"
#include "comm/sim/sim_world.h"
#include "comm/tcp/tcp_world.h"

namespace weft::comm {

enum class Mode { self, threads, processes, sim, mpi, tcp, tcp_processes, hybrid };

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
    case Mode::mpi:
      return "mpi";
    case Mode::tcp:
      return "tcp";
    case Mode::tcp_processes:
      return "tcp_processes";
    case Mode::hybrid:
      return "hybrid";
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

/// This process's end of MPI, where mpirun has started it: the same for all tests of a process.
inline Transport& mpi_transport() {
  static const auto transport = [] {
    MpiOptions options;
    options.wait_bound = std::chrono::seconds(20);
    options.piece_bytes_max = 1 << 20;  // long messages of the tests go in several pieces
    auto opened = open_mpi_transport(options);
    if (!opened) std::fprintf(stderr, "%s\n", opened.error().message.c_str());
    return opened ? std::move(*opened) : nullptr;
  }();
  WEFT_CHECK(transport != nullptr, "no MPI");
  return *transport;
}

using TransportBody = std::function<void(Transport&)>;

/// A world over TCP on this host's loopback, its ranks still to join: tcp, every rank a node;
/// hybrid, three nodes that take turns, with shared memory inside each.
struct TcpRanks {
  TcpWorldOptions options;
  std::vector<TcpWorld> listening;
  std::vector<LocalWorld> nodes;  // none: every rank is alone

  TcpRanks(int n, bool hybrid) {
    options.run = "test";
    options.generation = 7;
    options.secret = draw_tcp_secret();
    const int num_nodes = std::min(n, 3);
    for (int r = 0; r < n; ++r) {
      auto world = TcpWorld::listen();
      WEFT_CHECK(world.has_value(), world.error().message);
      options.endpoints.push_back(world->endpoint());
      listening.push_back(std::move(*world));
      if (hybrid) options.node_of_rank.push_back(r % num_nodes);
    }
    for (int node = 0; hybrid && node < num_nodes; ++node)
      nodes.push_back(*LocalWorld::create((n - node + num_nodes - 1) / num_nodes));
  }

  /// `attached`: this process's own mapping of the node's memory, or null.
  Expected<std::unique_ptr<Transport>> join(int rank, const LocalWorld* attached = nullptr) {
    TcpWorldOptions own = options;
    own.rank = rank;
    own.node = attached != nullptr ? attached : nodes.empty() ? nullptr : &node_of(rank);
    return listening[static_cast<std::size_t>(rank)].join(own);
  }
  const LocalWorld& node_of(int rank) const {
    return nodes[static_cast<std::size_t>(rank) % nodes.size()];
  }
};

inline void run_tcp(Mode mode, int n, const TransportBody& body) {
  TcpRanks ranks(n, mode == Mode::hybrid);
  const auto run = [&](int rank) {
    auto transport = ranks.join(rank);
    ASSERT_TRUE(transport) << transport.error().message;
    body(**transport);
  };
  if (mode == Mode::tcp) {
    std::vector<std::jthread> threads;
    for (int r = 0; r < n; ++r) threads.emplace_back([&, r] { run(r); });
    return;
  }
  std::vector<pid_t> children;
  for (int r = 0; r < n; ++r)
    children.push_back(fork_rank([&, r] {
      // Of the others' listeners a process keeps none: they would seem to live on.
      for (int other = 0; other < n; ++other)
        if (other != r) {
          const TcpWorld gone = std::move(ranks.listening[static_cast<std::size_t>(other)]);
        }
      run(r);
    }));
  for (int r = 0; r < n; ++r)
    EXPECT_EQ(exit_status(children[static_cast<std::size_t>(r)]), 0) << "rank " << r;
}

inline void run_transports(Mode mode, int n, const TransportBody& body) {
  if (mode == Mode::self) {
    body(*make_self_transport());
    return;
  }
  if (mode == Mode::mpi) {
    ASSERT_EQ(mpi_transport().world_size(), n);
    body(mpi_transport());
    return;
  }
  if (mode == Mode::sim) {
    // Messages take time, and the long ones wait for their receives, as on a real network.
    SimOptions options;
    options.link = [](int from, int to) {
      return SimLink{std::chrono::microseconds(5 + 3 * from + to), 1e10};
    };
    options.eager_bytes_max = 64 << 10;
    SimWorld(n, options).run([&](const SimWorld::Rank& rank) { body(rank.transport); });
    return;
  }
  if (mode == Mode::tcp || mode == Mode::tcp_processes || mode == Mode::hybrid)
    return run_tcp(mode, n, body);
  auto world = LocalWorld::create(n);
  ASSERT_TRUE(world) << world.error().message;
  const auto join = [&body](const LocalWorld& joined, int rank) {
    auto transport = joined.join(rank);
    ASSERT_TRUE(transport) << transport.error().message;
    body(**transport);
  };
  if (mode == Mode::threads) {
    std::vector<std::jthread> ranks;
    for (int r = 0; r < n; ++r) ranks.emplace_back([&, r] { join(*world, r); });
    return;
  }
  std::vector<pid_t> ranks;
  for (int r = 0; r < n; ++r)
    ranks.push_back(fork_rank([&, r] {
      auto own = LocalWorld::attach(world->descriptor());
      ASSERT_TRUE(own) << own.error().message;
      join(*own, r);
    }));
  for (int r = 0; r < n; ++r)
    EXPECT_EQ(exit_status(ranks[static_cast<std::size_t>(r)]), 0) << "rank " << r;
}

/// `body` with the group of all ranks.
inline void run_ranks(Mode mode, int n, const RankBody& body) {
  run_transports(mode, n, [&body](Transport& transport) { run_rank(transport, body); });
}

/// Counters that all ranks of a test see, wherever they run; zero at first. Under mpirun they are
/// the same for all tests.
class SharedCounters {
 public:
  SharedCounters() {
    const char* const file = std::getenv("WEFT_TEST_SHARED_FILE");
    const int descriptor = file == nullptr ? -1 : ::open(file, O_RDWR | O_CREAT, 0600);
    WEFT_CHECK(file == nullptr || ::ftruncate(descriptor, 4096) == 0);
    memory_ = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE,
                     MAP_SHARED | (file == nullptr ? MAP_ANONYMOUS : 0), descriptor, 0);
    WEFT_CHECK(memory_ != MAP_FAILED);
    if (descriptor >= 0) ::close(descriptor);
  }
  ~SharedCounters() { ::munmap(memory_, 4096); }
  SharedCounters(const SharedCounters&) = delete;
  SharedCounters& operator=(const SharedCounters&) = delete;

  std::atomic<int>* at(int index) const { return static_cast<std::atomic<int>*>(memory_) + index; }

 private:
  void* memory_;
};

/// The value, or a failed expectation and a default.
template <class T>
T value_of(Expected<T> result) {
  EXPECT_TRUE(result) << result.error().message;
  return result ? std::move(*result) : T{};
}
inline void check(const Expected<void>& result) { EXPECT_TRUE(result) << result.error().message; }

}  // namespace weft::comm

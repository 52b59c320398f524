// Latency and bandwidth of the local transport between forked ranks, against memcpy of the same
// bytes in the same run. Usage: comm_bench [ranks]
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "comm/local/local_transport.h"

namespace weft::comm {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void must(const Expected<void>& result) {
  if (result) return;
  std::fprintf(stderr, "%s\n", result.error().message.c_str());
  std::_Exit(1);
}

int repeats_for(std::size_t bytes) {
  return static_cast<int>(
      std::clamp<std::size_t>((std::size_t{256} << 20) / (bytes + 1), 20, 20000));
}

/// The best of several rounds: the machine may be shared.
template <class Body>
double best_seconds(int repeats, Body body) {
  double best = 1e9;
  for (int round = 0; round < 5; ++round) {
    const auto begin = Clock::now();
    for (int i = 0; i < repeats / 5; ++i) body();
    best = std::min(best, seconds_since(begin) / (repeats / 5));
  }
  return best;
}

double memcpy_seconds(std::size_t bytes) {
  std::vector<std::byte> from(bytes, std::byte{1}), to(bytes);
  return best_seconds(repeats_for(bytes), [&] {
    std::memcpy(to.data(), from.data(), bytes);
    asm volatile("" : : "r"(to.data()) : "memory");
  });
}

void ping_pong(Communicator& group, std::size_t bytes) {
  if (group.rank() > 1) return;
  std::vector<std::byte> data(bytes, std::byte{1});
  const int peer = 1 - group.rank();
  const auto one = [&](bool first) {
    for (int half = 0; half < 2; ++half) {
      if ((half == 0) == first) {
        must(send(group, peer, 1, data));
      } else if (auto got = receive(group, peer, 1, data); !got) {
        must(tl::unexpected<Error>(got.error()));
      }
    }
  };
  const double time = best_seconds(repeats_for(bytes), [&] { one(group.rank() == 0); }) / 2;
  if (group.rank() == 0)
    std::printf("  p2p          %9zu B  %9.2f us  %7.2f GB/s  %5.2f of memcpy\n", bytes, time * 1e6,
                static_cast<double>(bytes) / time / 1e9, memcpy_seconds(bytes) / time);
}

/// `bytes` to each peer and to oneself; the bandwidth is that of all ranks together.
void all_to_all(Communicator& group, std::size_t bytes) {
  const auto n = static_cast<std::size_t>(group.size());
  const std::vector<std::size_t> lengths(n, bytes);
  const MessageMemory memory = group.message_memory(n * bytes);
  const ConstBytes in{memory.get(), n * bytes};
  std::memset(memory.get(), 1, in.size());
  std::vector<std::byte> out(n * bytes);
  must(all_to_all_v(group, in, lengths, out, lengths));
  const double time = best_seconds(repeats_for(n * n * bytes),
                                   [&] { must(all_to_all_v(group, in, lengths, out, lengths)); });
  if (group.rank() == 0)
    std::printf("  all_to_all_v %9zu B  %9.2f us  %7.2f GB/s  %5.2f of memcpy by one core\n", bytes,
                time * 1e6, static_cast<double>(n * n * bytes) / time / 1e9,
                memcpy_seconds(n * n * bytes) / time);
  must(barrier(group));
}

void all_reduce(Communicator& group, std::size_t bytes) {
  std::vector<float> values(bytes / sizeof(float), 0.0f);
  must(all_reduce_sum(group, values));
  const double time =
      best_seconds(repeats_for(bytes * 8), [&] { must(all_reduce_sum(group, values)); });
  if (group.rank() == 0)
    std::printf("  all_reduce   %9zu B  %9.2f us  %7.2f GB/s\n", bytes, time * 1e6,
                static_cast<double>(bytes) / time / 1e9);
  must(barrier(group));
}

void run(const LocalWorld& world, int rank) {
  auto transport = world.join(rank);
  if (!transport) return must(tl::unexpected<Error>(transport.error()));
  GroupSpec spec{"bench", {}};
  for (int r = 0; r < world.world_size(); ++r) spec.ranks.push_back(r);
  auto groups = (*transport)->make_groups(std::span(&spec, 1));
  if (!groups) return must(tl::unexpected<Error>(groups.error()));
  Communicator& group = *groups->at(0);
  const std::size_t sizes[] = {8, 1024, 16 << 10, 128 << 10, 1 << 20, 4 << 20, 16 << 20};
  for (const std::size_t bytes : sizes) {
    if (group.size() > 1) ping_pong(group, bytes);
    must(barrier(group));
  }
  for (const std::size_t bytes : sizes) all_to_all(group, std::min<std::size_t>(bytes, 4 << 20));
  for (const std::size_t bytes : sizes) all_reduce(group, bytes);
}

}  // namespace
}  // namespace weft::comm

int main(int argc, char** argv) {
  const int ranks = argc > 1 ? std::atoi(argv[1]) : 4;
  auto world = weft::comm::LocalWorld::create(ranks);
  if (!world) {
    std::fprintf(stderr, "%s\n", world.error().message.c_str());
    return 2;
  }
  std::printf("local transport, %d ranks\n", ranks);
  std::fflush(stdout);
  for (int rank = 0; rank < ranks; ++rank) {
    if (::fork() == 0) {
      weft::comm::run(*world, rank);
      std::fflush(stdout);
      std::_Exit(0);
    }
  }
  int failed = 0, status = 0;
  while (::wait(&status) > 0) failed |= status;
  return failed == 0 ? 0 : 1;
}

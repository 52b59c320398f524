// Our side of comm_peer.sh, and the limit: what mpi_alltoallv_bench does, over the local transport
// between forked ranks, and plain memcpy of the same bytes by one and by two processes at once.
// Usage: comm_peer_bench local|memcpy RANKS [small]     (small: 64 bytes only)
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <string_view>

#include "comm/local/local_transport.h"
#include "tests/bench/peer_measure.h"

namespace weft::bench {
namespace {

using comm::Communicator;

void must(const Expected<void>& result) {
  if (result) return;
  std::fprintf(stderr, "%s\n", result.error().message.c_str());
  std::_Exit(1);
}

void all_to_all(Communicator& group, std::size_t bytes) {
  const auto n = static_cast<std::size_t>(group.size());
  const comm::MessageMemory memory = group.message_memory(n * bytes);
  const comm::ConstBytes in{memory.get(), n * bytes};
  std::memset(memory.get(), 1, in.size());
  std::vector<std::byte> out(n * bytes);
  const std::vector<std::size_t> lengths(n, bytes);
  measure(
      "all_to_all", group.size(), bytes, repeats_for(n * n * bytes), group.rank() == 0,
      [&] { must(barrier(group)); }, [&] { must(all_to_all_v(group, in, lengths, out, lengths)); });
}

void ping_pong(Communicator& group) {
  std::vector<std::byte> ball(kSmallBytes, std::byte{1});
  const int peer = group.rank() ^ 1;
  const auto receive_ball = [&] {
    if (auto got = receive(group, peer, 1, ball); !got) must(tl::unexpected<Error>(got.error()));
  };
  measure(
      "ping_pong", group.size(), kSmallBytes, 300, group.rank() == 0, [&] { must(barrier(group)); },
      [&] {
        if (group.rank() % 2 == 0) must(send(group, peer, 1, ball));
        receive_ball();
        if (group.rank() % 2 == 1) must(send(group, peer, 1, ball));
      });
}

void run_rank(const comm::LocalWorld& world, int rank, bool small) {
  auto transport = world.join(rank);
  if (!transport) return must(tl::unexpected<Error>(transport.error()));
  comm::GroupSpec spec{"bench", {}};
  for (int r = 0; r < world.world_size(); ++r) spec.ranks.push_back(r);
  auto groups = (*transport)->make_groups(std::span(&spec, 1));
  if (!groups) return must(tl::unexpected<Error>(groups.error()));
  Communicator& group = *groups->at(0);
  if (group.size() % 2 == 0) ping_pong(group);
  all_to_all(group, kSmallBytes);
  if (small) return;
  for (const std::size_t bytes : kPartBytes) all_to_all(group, bytes);
}

/// Forks `count` children and waits for them; 0 when all went well.
int fork_all(int count, const std::function<void(int)>& body) {
  std::fflush(nullptr);
  for (int i = 0; i < count; ++i) {
    if (::fork() != 0) continue;
    body(i);
    std::fflush(nullptr);
    std::_Exit(0);
  }
  int failed = 0, status = 0;
  while (::wait(&status) > 0) failed |= status;
  return failed == 0 ? 0 : 1;
}

/// What all ranks of an all_to_all_v copy together, the same buffers too, by `processes` at once.
int copy_alone(int ranks, std::size_t bytes, int processes) {
  auto world = comm::LocalWorld::create(processes);  // for the barrier
  if (!world) return 2;
  return fork_all(processes, [&](int process) {
    auto transport = world->join(process);
    comm::GroupSpec spec{"copy", {}};
    for (int p = 0; p < processes; ++p) spec.ranks.push_back(p);
    auto groups = (*transport)->make_groups(std::span(&spec, 1));
    Communicator& group = *groups->at(0);
    const auto n = static_cast<std::size_t>(ranks);
    std::vector<std::vector<std::byte>> in, out;
    for (int r = process; r < ranks; r += processes) {
      in.emplace_back(n * bytes, std::byte{1});
      out.emplace_back(n * bytes);
    }
    const std::string what = "memcpy_" + std::to_string(processes);
    measure(
        what.c_str(), ranks, bytes, repeats_for(n * n * bytes), process == 0,
        [&] { must(barrier(group)); },
        [&] {
          for (std::size_t r = 0; r < in.size(); ++r) {
            for (std::size_t part = 0; part < n; ++part) {
              std::memcpy(out[r].data() + part * bytes, in[r].data() + part * bytes, bytes);
              asm volatile("" : : "r"(out[r].data()) : "memory");
            }
          }
        });
  });
}

int run_local(int ranks, bool small) {
  auto world = comm::LocalWorld::create(ranks);
  if (!world) {
    std::fprintf(stderr, "%s\n", world.error().message.c_str());
    return 2;
  }
  return fork_all(ranks, [&](int rank) { run_rank(*world, rank, small); });
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  const bool small = argc > 3 && std::string_view(argv[3]) == "small";
  const int ranks = argc > 2 ? std::atoi(argv[2]) : 0;
  if ((mode != "local" && mode != "memcpy") || ranks < 1) {
    std::fprintf(stderr, "usage: comm_peer_bench local|memcpy RANKS [small]\n");
    return 2;
  }
  if (mode == "local") return weft::bench::run_local(ranks, small);
  int failed = 0;
  for (const std::size_t bytes : weft::bench::kPartBytes)
    for (const int processes : {1, 2}) failed |= weft::bench::copy_alone(ranks, bytes, processes);
  return failed;
}

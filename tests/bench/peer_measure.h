// What comm_peer_bench and mpi_alltoallv_bench have in common, so that both measure the same: the
// sizes, the loops and the lines that comm_peer.sh puts side by side.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

namespace weft::bench {

/// Bytes to each peer, and as many to oneself.
inline constexpr std::array<std::size_t, 3> kPartBytes{std::size_t{1} << 20, std::size_t{4} << 20,
                                                       std::size_t{16} << 20};
inline constexpr std::size_t kSmallBytes = 64;
/// Exchanges of more bytes take so long that fewer rounds must do.
inline constexpr std::size_t kManyBytes = std::size_t{128} << 20;
inline constexpr int kRounds = 15;  // many short ones: the machine may be shared

/// How often an exchange of `bytes` in all is repeated in a round.
inline int repeats_for(std::size_t bytes) {
  return static_cast<int>(std::clamp<std::size_t>((std::size_t{32} << 20) / bytes, 1, 300));
}

/// Runs `op` `repeats` times a round, each round after `line_up` (a barrier), and prints, when
/// `speaks`: WHAT RANKS BYTES BEST MEDIAN, the times in microseconds a run of `op`.
template <class LineUp, class Op>
void measure(const char* what, int ranks, std::size_t bytes, int repeats, bool speaks,
             LineUp line_up, Op op) {
  using Clock = std::chrono::steady_clock;
  op();  // touches the memory
  const std::size_t moved = static_cast<std::size_t>(ranks * ranks) * bytes;
  std::vector<double> times(moved > kManyBytes ? kRounds / 3 : kRounds);
  for (double& time : times) {
    line_up();
    const auto begin = Clock::now();
    for (int i = 0; i < repeats; ++i) op();
    time = std::chrono::duration<double, std::micro>(Clock::now() - begin).count() / repeats;
  }
  std::sort(times.begin(), times.end());
  if (!speaks) return;
  std::printf("%s %d %zu %.3f %.3f\n", what, ranks, bytes, times[0], times[times.size() / 2]);
  std::fflush(stdout);
}

}  // namespace weft::bench

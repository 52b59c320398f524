// Open MPI's side of comm_peer.sh: the same exchanges as comm_peer_bench, by MPI.
// Usage: mpirun -n RANKS mpi_alltoallv_bench [small]     (small: 64 bytes only)
#include <mpi.h>

#include <string_view>

#include "tests/bench/peer_measure.h"

namespace weft::bench {
namespace {

void line_up() { MPI_Barrier(MPI_COMM_WORLD); }

void all_to_all(const char* what, int rank, int ranks, std::size_t bytes) {
  const auto n = static_cast<std::size_t>(ranks);
  std::vector<char> in(n * bytes, 1), out(n * bytes);
  const std::vector<int> counts(n, static_cast<int>(bytes));
  std::vector<int> places(n);
  for (std::size_t r = 0; r < n; ++r) places[r] = static_cast<int>(r * bytes);
  measure(what, ranks, bytes, repeats_for(n * n * bytes), rank == 0, line_up, [&] {
    MPI_Alltoallv(in.data(), counts.data(), places.data(), MPI_CHAR, out.data(), counts.data(),
                  places.data(), MPI_CHAR, MPI_COMM_WORLD);
  });
}

/// Ranks 2i and 2i + 1 play, all pairs at once; the time is there and back.
void ping_pong(int rank, int ranks) {
  std::vector<char> ball(kSmallBytes, 1);
  const int peer = rank ^ 1;
  const auto send = [&] { MPI_Send(ball.data(), kSmallBytes, MPI_CHAR, peer, 1, MPI_COMM_WORLD); };
  const auto receive = [&] {
    MPI_Recv(ball.data(), kSmallBytes, MPI_CHAR, peer, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  };
  measure("ping_pong", ranks, kSmallBytes, 300, rank == 0, line_up, [&] {
    if (rank % 2 == 0) send();
    receive();
    if (rank % 2 == 1) send();
  });
}

void run(int rank, int ranks, bool small) {
  ping_pong(rank, ranks);
  all_to_all("all_to_all", rank, ranks, kSmallBytes);
  if (small) return;
  for (const std::size_t bytes : kPartBytes) all_to_all("all_to_all", rank, ranks, bytes);
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  weft::bench::run(rank, ranks, argc > 1 && std::string_view(argv[1]) == "small");
  MPI_Finalize();
  return 0;
}

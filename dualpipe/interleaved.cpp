// Interleaved 1F1B: each rank holds several smaller chunks of the model and walks them in rounds,
// which divides the bubble by their number.
// Source: Narayanan et al., SC '21; rounds as PyTorch cuts them, for any micro-batch count that
// divides evenly.
#include <algorithm>

#include "dualpipe/generators.h"

namespace weft::dualpipe {
namespace {

std::vector<Action> program_of(const Size& size, int rank) {
  const int per_round = size.micro_batches / std::max(1, size.micro_batches / size.ranks);
  const int total = size.chunks * size.micro_batches;
  const int warm_up = std::min((size.chunks - 1) * per_round + 2 * (size.ranks - 1 - rank), total);
  // The k-th forward (backward) of a rank: a round of each chunk in turn, from the first (last) on.
  const auto chunk_at = [&](int k, bool backward) {
    const int round = k / (per_round * size.chunks);
    const int in_round = k % (per_round * size.chunks);
    const int local = in_round / per_round;
    const int stage = (backward ? size.chunks - 1 - local : local) * size.ranks + rank;
    return Chunk{0, stage, round * per_round + in_round % per_round};
  };
  std::vector<Action> program;
  int forward = 0;
  while (forward < warm_up) program.push_back({Op::F, chunk_at(forward++, false), {}});
  for (int backward = 0; backward < total; ++backward) {
    if (forward < total) program.push_back({Op::F, chunk_at(forward++, false), {}});
    program.push_back({Op::B, chunk_at(backward, true), {}});
  }
  return program;
}

}  // namespace

Schedule make_interleaved(const Size& size) {
  Schedule schedule = empty_schedule(Kind::Interleaved, size);
  for (int rank = 0; rank < size.ranks; ++rank) {
    schedule.programs[static_cast<std::size_t>(rank)] = program_of(size, rank);
  }
  return schedule;
}

}  // namespace weft::dualpipe

// ZB1P (zero bubble, H1): 1F1B with the backward cut in two. Rank r holds its weight gradients back
// by r micro-batches: no memory beyond 1F1B's largest, and the ramp-down has work to fill it.
// Source: Qi et al., "Zero Bubble Pipeline Parallelism", ICLR 2024.
#include <algorithm>

#include "dualpipe/generators.h"

namespace weft::dualpipe {

Schedule make_zero_bubble(const Size& size) {
  Schedule schedule = empty_schedule(Kind::ZeroBubble, size);
  for (int rank = 0; rank < size.ranks; ++rank) {
    auto& program = schedule.programs[static_cast<std::size_t>(rank)];
    const int warm_up = std::min(size.ranks - 1 - rank, size.micro_batches);
    int forward = 0;
    int weight = 0;
    while (forward < warm_up) program.push_back({Op::F, {0, rank, forward++}, {}});
    for (int backward = 0; backward < size.micro_batches; ++backward) {
      if (forward < size.micro_batches) program.push_back({Op::F, {0, rank, forward++}, {}});
      program.push_back({Op::BI, {0, rank, backward}, {}});
      if (backward >= rank) program.push_back({Op::W, {0, rank, weight++}, {}});
    }
    while (weight < size.micro_batches) program.push_back({Op::W, {0, rank, weight++}, {}});
  }
  return schedule;
}

}  // namespace weft::dualpipe

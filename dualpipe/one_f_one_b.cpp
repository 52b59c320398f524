// 1F1B: as few forwards as fill the pipeline, then one forward and one backward in turn, then the
// backwards that are left.
#include <algorithm>

#include "dualpipe/generators.h"

namespace weft::dualpipe {

Schedule make_one_f_one_b(const Size& size) {
  Schedule schedule = empty_schedule(Kind::OneFOneB, size);
  for (int rank = 0; rank < size.ranks; ++rank) {
    auto& program = schedule.programs[static_cast<std::size_t>(rank)];
    const int warm_up = std::min(size.ranks - 1 - rank, size.micro_batches);
    int forward = 0;
    while (forward < warm_up) program.push_back({Op::F, {0, rank, forward++}, {}});
    for (int backward = 0; backward < size.micro_batches; ++backward) {
      if (forward < size.micro_batches) program.push_back({Op::F, {0, rank, forward++}, {}});
      program.push_back({Op::B, {0, rank, backward}, {}});
    }
  }
  return schedule;
}

}  // namespace weft::dualpipe

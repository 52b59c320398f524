// GPipe: all forwards, then all backwards. The backwards run in ascending order, so that weight
// gradients add up in the same order as in every other kind.
#include "dualpipe/generators.h"

namespace weft::dualpipe {

Schedule make_gpipe(const Size& size) {
  Schedule schedule = empty_schedule(Kind::GPipe, size);
  for (int rank = 0; rank < size.ranks; ++rank) {
    auto& program = schedule.programs[static_cast<std::size_t>(rank)];
    for (int mb = 0; mb < size.micro_batches; ++mb) program.push_back({Op::F, {0, rank, mb}, {}});
    for (int mb = 0; mb < size.micro_batches; ++mb) program.push_back({Op::B, {0, rank, mb}, {}});
  }
  return schedule;
}

}  // namespace weft::dualpipe

// DualPipeV: DualPipe folded in the middle. One direction goes out over the ranks and comes back,
// so that each rank holds two stages and every stage has one owner.
#include "dualpipe/eight_steps.h"
#include "dualpipe/generators.h"

namespace weft::dualpipe {

Schedule make_dualpipev(const Size& size) {
  Schedule schedule = empty_schedule(Kind::DualPipeV, size);
  for (int rank = 0; rank < size.ranks; ++rank) {
    EightSteps shape;
    shape.depth = size.ranks;
    shape.place = rank;
    shape.main_rounds = size.micro_batches - 2 * size.ranks + rank + 1;
    shape.streams[0] = {0, rank, 0};
    shape.streams[1] = {1, 2 * size.ranks - 1 - rank, 0};
    schedule.programs[static_cast<std::size_t>(rank)] = eight_steps(shape);
  }
  return schedule;
}

}  // namespace weft::dualpipe

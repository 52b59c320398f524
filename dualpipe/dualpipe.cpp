// DualPipe: micro-batches enter at both ends; each rank overlaps the forward of one direction with
// the backward of the other.
#include <algorithm>

#include "dualpipe/eight_steps.h"
#include "dualpipe/generators.h"

namespace weft::dualpipe {

Schedule make_dualpipe(const Size& size) {
  Schedule schedule = empty_schedule(Kind::DualPipe, size);
  for (int rank = 0; rank < size.ranks; ++rank) {
    const int mirror = size.ranks - 1 - rank;
    const Chunk direction0{0, rank, 0};
    const Chunk direction1{1, mirror, 0};
    EightSteps shape;
    shape.depth = size.ranks / 2;
    shape.place = std::min(rank, mirror);
    shape.main_rounds = size.micro_batches / 2 - size.ranks + shape.place + 1;
    const bool first_half = rank < shape.depth;
    shape.streams[0] = first_half ? direction0 : direction1;
    shape.streams[1] = first_half ? direction1 : direction0;
    schedule.programs[static_cast<std::size_t>(rank)] = eight_steps(shape);
  }
  return schedule;
}

}  // namespace weft::dualpipe

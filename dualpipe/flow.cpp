#include "dualpipe/flow.h"

namespace weft::dualpipe {

Flow::Flow(const Schedule& schedule)
    : kind_(schedule.kind),
      ranks_(schedule.ranks),
      chunks_(schedule.chunks),
      stages_(num_stages(schedule.kind, schedule.ranks, schedule.chunks)),
      micro_batches_(schedule.micro_batches / num_directions(schedule.kind)) {}

int Flow::id(const Chunk& chunk) const {
  const int direction = is_v(kind_) ? 0 : chunk.direction;
  return (direction * stages_ + chunk.stage) * micro_batches_ + chunk.micro_batch;
}

bool Flow::valid(const Chunk& chunk) const {
  if (chunk.stage < 0 || chunk.stage >= stages_) return false;
  if (chunk.micro_batch < 0 || chunk.micro_batch >= micro_batches_) return false;
  if (is_v(kind_)) return chunk.direction == v_direction(ranks_, chunk.stage);
  return chunk.direction >= 0 && chunk.direction < directions();
}

int Flow::position(const Chunk& chunk) const {
  return position_of(kind_, ranks_, chunk.direction, chunk.stage, chunks_);
}

std::optional<Chunk> Flow::before(const Chunk& chunk) const {
  if (chunk.stage == 0) return std::nullopt;
  return at_stage(chunk, chunk.stage - 1);
}

std::optional<Chunk> Flow::after(const Chunk& chunk) const {
  if (chunk.stage + 1 == stages_) return std::nullopt;
  return at_stage(chunk, chunk.stage + 1);
}

Chunk Flow::at_stage(const Chunk& chunk, int stage) const {
  const int direction = is_v(kind_) ? v_direction(ranks_, stage) : chunk.direction;
  return {direction, stage, chunk.micro_batch};
}

std::string describe(const Chunk& chunk) {
  return "dir " + std::to_string(chunk.direction) + " stage " + std::to_string(chunk.stage) +
         " mb " + std::to_string(chunk.micro_batch);
}

std::string describe(const Action& action) {
  const std::string name(to_string(action.op));
  switch (action.op) {
    case Op::FB:
      return "FB of F " + describe(action.chunk) + " and B " + describe(action.other);
    case Op::SendF:
    case Op::SendB:
      return name + " " + describe(action.chunk) + " to position " + std::to_string(action.peer);
    case Op::RecvF:
    case Op::RecvB:
      return name + " " + describe(action.chunk) + " from position " + std::to_string(action.peer);
    case Op::Reduce:
      return name + " stage " + std::to_string(action.chunk.stage);
    case Op::Update:
    case Op::Snapshot:
      return name;
    default:
      return name + " " + describe(action.chunk);
  }
}

}  // namespace weft::dualpipe

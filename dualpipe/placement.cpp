// Which position holds which stage.
#include "dualpipe/flow.h"

namespace weft::dualpipe {

int num_directions(Kind kind) { return kind == Kind::DualPipe ? 2 : 1; }

int num_stages(Kind kind, int ranks, int chunks) {
  if (is_v(kind)) return 2 * ranks;
  return kind == Kind::Interleaved ? ranks * chunks : ranks;
}

std::vector<int> stages_of(Kind kind, int ranks, int position, int chunks) {
  if (kind == Kind::DualPipe) return {position, ranks - 1 - position};
  if (is_v(kind)) return {position, 2 * ranks - 1 - position};
  std::vector<int> stages;
  for (int stage = position; stage < num_stages(kind, ranks, chunks); stage += ranks) {
    stages.push_back(stage);
  }
  return stages;
}

int position_of(Kind kind, int ranks, int direction, int stage, int /*chunks*/) {
  if (kind == Kind::DualPipe) return direction == 0 ? stage : ranks - 1 - stage;
  if (is_v(kind)) return stage < ranks ? stage : 2 * ranks - 1 - stage;
  return stage % ranks;
}

}  // namespace weft::dualpipe

// The eight steps that DualPipe and DualPipeV share. Internal to the room.
#pragma once

#include <vector>

#include "dualpipe/schedule.h"

namespace weft::dualpipe {

/// What the two kinds differ in, for one rank. A rank works on two streams: stream 0 runs towards
/// the turn (the middle for DualPipe, the last rank for DualPipeV), stream 1 comes back from it.
struct EightSteps {
  int depth = 0;        // ranks between the entry and the turn
  int place = 0;        // 0 at the entry, depth - 1 at the turn
  int main_rounds = 0;  // rounds of step 4
  Chunk streams[2];     // direction and stage of each stream on this rank
};

/// The compute actions of one rank, in order.
/// Source: the published DualPipe algorithm (github.com/deepseek-ai/DualPipe).
std::vector<Action> eight_steps(const EightSteps& shape);

}  // namespace weft::dualpipe

// What carries the messages of a CPU worker beside the messages themselves.
#pragma once

#include <span>

#include "scheduler/work.h"

namespace weft::scheduler {

/// Of a rank of a position, on one host.
struct TransportBytes {
  double rings = 0;        // in shared memory, those that it writes; see comm/local/shared_world.h
  double collectives = 0;  // where the sum at a step's end is made
};
/// `program`: of the position, with messages. `stages`: of the model.
TransportBytes transport_bytes(const Work& work, std::span<const StageBlocks> stages, int position,
                               std::span<const dualpipe::Action> program);

/// Tensors of the model, as checkpoints count them.
double num_tensors(const ModelShape& model);

}  // namespace weft::scheduler

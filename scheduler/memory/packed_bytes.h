// Copies of weights that a CPU worker's products read: each matrix in the product library's own
// layout. Follows trainer/kernels/matmul_dnnl.cpp and fp8_linear_cpu.cpp.
#pragma once

#include "scheduler/work.h"

namespace weft::scheduler {

/// Of a stage, forward and backward, once both have run.
double packed_bytes(const Work& work, const StageBlocks& stage);
/// Of a routed expert in the forward pass alone: a replica's.
double packed_replica_bytes(const Work& work);

}  // namespace weft::scheduler

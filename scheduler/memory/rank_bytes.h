// What a rank needs of its memory, by what it is for.
#pragma once

#include <vector>

#include "scheduler/cluster/cluster.h"
#include "scheduler/memory/block_bytes.h"
#include "scheduler/work.h"

namespace weft::scheduler {

struct RankBytes {
  double weights = 0, gradients = 0;  // of every stage that it holds
  double masters = 0, moments = 0;    // its share of the optimizer's state (ZeRO-1)
  double received = 0;                // gradients of its share, from the other replicas
  double packed = 0;                  // copies that the CPU's product library reads
  double activations = 0;             // the most that is live at once, stage by stage
  double replicas = 0;                // of experts, while it samples completions
  double buffers = 0;                 // of the expert exchange and of pipeline messages
  int live = 0;                       // micro-batches between forward and weight gradient, at most
  double total() const {
    return weights + gradients + masters + moments + received + packed + activations + replicas +
           buffers;
  }
};

/// Per pipeline position, of its busiest rank: `load_variation` as in TimeAssumptions.
/// Errors: InvalidArgument as place and generate.
Expected<std::vector<RankBytes>> rank_bytes(const Work& work, const Cluster& cluster,
                                            double load_variation = 0.7);

/// KV cache of `sequences` sequences of `tokens` on a stage with so many layers, FP32 or BF16.
double cache_bytes(const Work& work, int layers, double sequences, double tokens);

/// Bytes of a checkpoint: weights and both moments, once.
double checkpoint_bytes(const Work& work);

}  // namespace weft::scheduler

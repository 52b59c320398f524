// What a rank needs of its memory, by what it is for.
#pragma once

#include <algorithm>
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
  double exchange = 0;                // messages of the expert exchange, and rows that it keeps
  double messages = 0;                // of the pipeline; a CPU's lie in the activations
  double transport = 0;               // rings in a CPU host's shared memory, once they are full
  double collectives = 0;             // what they work in
  double kv_cache = 0;                // while it samples completions
  double replicas = 0;                // of experts, meanwhile
  double packed_replicas = 0;         // copies that the CPU's product library reads, were all used
  int live = 0;                       // micro-batches between forward and weight gradient, at most
  bool pool = false;                  // the KV cache may lie where activations lay

  double buffers() const { return exchange + messages + transport + collectives; }
  double total() const {
    const double changing = pool ? std::max(activations, kv_cache) : activations + kv_cache;
    return weights + gradients + masters + moments + received + packed + changing + buffers() +
           replicas + packed_replicas;
  }
};

/// Per pipeline position, of its busiest rank: `load_variation` as in TimeAssumptions.
/// Errors: InvalidArgument as place and generate.
Expected<std::vector<RankBytes>> rank_bytes(const Work& work, const Cluster& cluster,
                                            double load_variation = 0.7);

/// Bytes of a checkpoint: weights and both moments, once.
double checkpoint_bytes(const Work& work);

}  // namespace weft::scheduler

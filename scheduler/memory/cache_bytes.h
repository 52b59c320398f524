// The KV cache of rollout.
#pragma once

#include "scheduler/work.h"

namespace weft::scheduler {

/// Of so many sequences in one layer, each with room for so many tokens. A CPU worker keeps F32
/// numbers whatever the job's precision, latents twice (trainer/kernels/mla_decode.h) and in whole
/// vectors; a GPU once, in the job's precision (FP8: BF16).
double cache_bytes(const Work& work, double sequences, double tokens, bool gpu);

/// The most sequences that a micro-batch of a rollout has.
double rollout_rows(const Work& work);

/// Of work.rollout_sequences, on the fullest rank of each position; [position]. Zeros where nothing
/// is rolled out. They are dealt out as Engine::generate does: in turn to the lanes' micro-batches,
/// as many of these in flight as there are positions; a DualPipe position holds two stages, each
/// with the sequences of its direction.
/// Errors: InvalidArgument as place.
Expected<std::vector<double>> rollout_cache(const Work& work, bool gpu);

}  // namespace weft::scheduler

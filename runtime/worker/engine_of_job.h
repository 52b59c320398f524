// The engine that a job asks for.
#pragma once

#include "runtime/job/job.h"
#include "runtime/worker/engine.h"

namespace weft::runtime {

/// The engine options that a job implies, with room for the largest micro-batch that any stage of
/// its recipe can make. The lengths are in tokens, of the job's data.
EngineOptions engine_options(const Job& job, int longest_prompt, int longest_completion);

}  // namespace weft::runtime

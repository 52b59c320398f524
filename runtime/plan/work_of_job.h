// From a job to what planning has to know of it.
#pragma once

#include "base/expected.h"
#include "runtime/job/job.h"
#include "scheduler/work.h"

namespace weft::runtime {

scheduler::ModelShape shape_of(const trainer::ModelConfig& config);

/// The job's first supervised stage (pretrain, else cold_start); a step is a full batch. Tasks
/// whose sequences differ in length are taken at their mean. Errors: InvalidArgument where a
/// micro-batch is not a whole number of sequences, or the recipe has no supervised stage.
Expected<scheduler::Work> work_of(const Job& job);

}  // namespace weft::runtime

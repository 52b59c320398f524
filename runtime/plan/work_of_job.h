// From a job to what planning has to know of it.
#pragma once

#include <string>

#include "base/expected.h"
#include "runtime/job/job.h"
#include "scheduler/work.h"

namespace weft::runtime {

scheduler::ModelShape shape_of(const trainer::ModelConfig& config);

/// The job's first supervised stage (pretrain, else cold_start); a step is a full batch. Tasks
/// whose sequences differ in length are taken at their mean. Errors: InvalidArgument where a
/// micro-batch is not a whole number of sequences, or the recipe has no supervised stage.
Expected<scheduler::Work> work_of(const Job& job);

/// The stage that work_of takes: "pretrain", else "cold_start".
std::string stage_of_work(const Job& job);
/// That stage's optimizer steps, as its job file counts them.
long long steps_of_work(const Job& job);
/// `done` of them as Work::steps counts: a ramp's small batches are parts of a full one.
Expected<double> full_steps(const Job& job, long long done);

}  // namespace weft::runtime

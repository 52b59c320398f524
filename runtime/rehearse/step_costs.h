// The time model's figures as a rehearsal needs them.
#pragma once

#include "base/expected.h"
#include "runtime/job/job.h"
#include "runtime/rehearse/step_model.h"
#include "scheduler/cluster/cluster.h"

namespace weft::runtime {

/// Errors: InvalidArgument when the job's layout is none.
Expected<StepCosts> step_costs(const Job& job, const scheduler::Cluster& cluster);

}  // namespace weft::runtime

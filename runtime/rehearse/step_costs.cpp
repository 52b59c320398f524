#include "runtime/rehearse/step_costs.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "runtime/plan/work_of_job.h"
#include "scheduler/time/step_time.h"

namespace weft::runtime {

Expected<StepCosts> step_costs(const Job& job, const scheduler::Cluster& cluster) {
  WEFT_TRY_ASSIGN(const scheduler::Work work, work_of(job));
  if (work.layout.world() > cluster.num_gpus())
    return fail(Code::InvalidArgument, "the job has " + std::to_string(work.layout.world()) +
                                           " ranks, " + cluster.name + " has " +
                                           std::to_string(cluster.num_gpus()) +
                                           " GPUs; what would fit: weft plan JOB --cluster FILE");
  WEFT_TRY_ASSIGN(const scheduler::StepTime time, scheduler::step_time(work, cluster));
  if (!std::isfinite(time.total) || !(time.total > 0))
    return fail(Code::InvalidArgument, "no time of a step is predicted on " + cluster.name +
                                           ", so there is nothing to rehearse; why: weft plan JOB "
                                           "--cluster FILE");
  StepCosts costs;
  costs.forward = time.forward_one;
  costs.backward_input = time.input_one;
  costs.weight = time.weight_one;
  costs.pair = time.pair;
  costs.step_end = time.optimizer();
  costs.total = time.total;
  costs.basis = "the time model of weft plan on " + cluster.name;
  return costs;
}

}  // namespace weft::runtime

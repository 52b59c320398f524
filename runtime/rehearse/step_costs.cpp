#include "runtime/rehearse/step_costs.h"

#include <algorithm>

#include "runtime/plan/work_of_job.h"
#include "scheduler/time/step_time.h"

namespace weft::runtime {

Expected<StepCosts> step_costs(const Job& job, const scheduler::Cluster& cluster) {
  WEFT_TRY_ASSIGN(const scheduler::Work work, work_of(job));
  WEFT_TRY_ASSIGN(const scheduler::StepTime time, scheduler::step_time(work, cluster));
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

#include "runtime/rehearse/step_costs.h"

#include <algorithm>

#include "runtime/job/course.h"
#include "trainer/hf/inventory.h"

namespace weft::runtime {

Expected<StepCosts> step_costs(const Job& job, const scheduler::Cluster& cluster) {
  const int context = std::max(1, sequence_tokens(job));
  const double stages =
      job.parallel.schedule == "dualpipe" ? job.parallel.pipeline : job.parallel.pipeline;
  const double sequences = std::max(
      1.0, 1.0 * job.pretrain.batch / (1.0 * job.parallel.data * job.parallel.micro_batches));
  const double flops =
      trainer::hf::flops_per_token(job.model, context).forward * context * sequences;
  const double rate = 0.4 * cluster.gpu.bf16;
  StepCosts costs;
  costs.forward = flops / stages / rate;
  costs.backward_input = costs.weight = costs.forward;
  costs.pair = 0.8 * 3 * costs.forward;
  costs.step_end = 0.3;
  costs.basis = "40 % of the BF16 peak (rough)";
  return costs;
}

}  // namespace weft::runtime

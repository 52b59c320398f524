#include "runtime/worker/engine_of_job.h"

#include <algorithm>

namespace weft::runtime {

EngineOptions engine_options(const Job& job, int longest_prompt, int longest_completion) {
  EngineOptions options;
  options.layout.kind = *dualpipe::parse_kind(job.parallel.schedule);
  options.layout.pipeline = job.parallel.pipeline;
  options.layout.data = job.parallel.data;
  options.layout.expert = job.parallel.expert;
  options.layout.micro_batches = job.parallel.micro_batches;
  options.model = job.model;
  options.adam = {job.optimizer.beta1, job.optimizer.beta2, job.optimizer.epsilon,
                  job.optimizer.weight_decay, job.optimizer.moments == "bf16"};
  options.clip_norm = job.optimizer.clip_norm;
  options.ema_decay = job.optimizer.ema_decay;
  options.router_bias_update_rate = job.router_bias_update_rate;
  options.overlap = job.parallel.overlap;
  options.replay = job.watch.replay;
  options.output_hashes = job.watch.output_hashes;
  options.recompute = *trainer::parse_recompute(job.parallel.recompute);
  options.precision = *trainer::parse_precision(job.precision);
  options.fp8.scales = *trainer::kernels::parse_fp8_scale(job.fp8.scales);
  options.dispatch_payload = *comm::parse_payload(job.parallel.dispatch_payload);
  options.redundant_experts = job.parallel.redundant_experts;
  options.threads = job.parallel.threads;
  options.seed = job.seed;
  options.wait_bound =
      std::chrono::milliseconds(static_cast<long long>(job.control.wait_bound_s * 1e3));

  // The largest micro-batch that any stage of the recipe can make: packing is balanced to within
  // one sequence; a rollout's first pass holds whole prompts.
  const int parts = options.layout.data * options.layout.micro_batches;
  const auto packed = [&](int sequences, int length) {
    return (sequences * length) / parts + length;
  };
  const int directions = dualpipe::num_directions(options.layout.kind);
  const int rollout_parts =
      options.layout.data * directions * ((options.layout.pipeline + directions - 1) / directions);
  const auto prefill = [&](int sequences) {
    return (sequences / rollout_parts + 1) * longest_prompt;
  };
  int tokens = 16;
  if (job.data.task == "text" || job.data.task == "files") {
    tokens =
        std::max({tokens, packed(job.pretrain.batch, job.data.context),
                  packed(job.cold_start.batch, job.data.context), packed(parts, job.data.context)});
  } else {
    const int length = longest_prompt + longest_completion;
    for (const SupervisedJob* stage :
         {&job.pretrain, static_cast<const SupervisedJob*>(&job.cold_start)})
      tokens = std::max({tokens, packed(stage->batch, length), prefill(stage->eval_problems)});
    const int completions = job.grpo.prompts_per_step * job.grpo.num_generations;
    tokens = std::max({tokens, packed(completions, length), prefill(completions),
                       prefill(job.grpo.eval_problems)});
  }
  options.max_tokens = tokens;
  return options;
}

}  // namespace weft::runtime

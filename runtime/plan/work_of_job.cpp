#include "runtime/plan/work_of_job.h"

#include <algorithm>
#include <cmath>

#include "runtime/job/course.h"
#include "runtime/worker/engine_of_job.h"
#include "runtime/worker/workload.h"

namespace weft::runtime {

using scheduler::ModelShape;
using scheduler::Work;

ModelShape shape_of(const trainer::ModelConfig& c) {
  ModelShape m;
  m.name = c.model_type;
  m.layers = c.num_hidden_layers;
  m.dense_layers = std::min(c.first_k_dense_replace, c.num_hidden_layers);
  m.next_token = c.num_nextn_predict_layers;
  m.hidden = c.hidden_size;
  m.vocab = c.vocab_size;
  m.intermediate = c.intermediate_size;
  m.moe_intermediate = c.moe_intermediate_size;
  m.heads = c.num_attention_heads;
  m.latent = c.latent_attention();
  m.q_lora = c.q_lora_rank;
  m.kv_lora = c.kv_lora_rank;
  m.nope = c.qk_nope_head_dim;
  m.rope = c.qk_rope_head_dim;
  m.value = c.v_head_dim;
  m.kv_heads = c.num_key_value_heads;
  m.head_dim = c.head_dim;
  m.experts = c.n_routed_experts;
  m.top_k = c.num_experts_per_tok;
  m.shared = c.n_shared_experts;
  m.groups = std::max(1, c.n_group);
  m.top_groups = std::max(1, c.topk_group);
  m.tied = c.tie_word_embeddings;
  return m;
}

namespace {

/// Tokens of a sequence. Those of tasks differ in length: the mean of the first steps' ones, as the
/// job will see them.
Expected<int> mean_sequence(const Job& job, bool pretrain) {
  constexpr int kSample = 512;  // sequences at least
  if (const int tokens = sequence_tokens(job); tokens > 0) return tokens;
  const int parts = job.parallel.data * job.parallel.micro_batches;
  const int batch =
      (pretrain ? job.pretrain : static_cast<const SupervisedJob&>(job.cold_start)).batch;
  WEFT_TRY_ASSIGN(const auto workload, Workload::open(job, {}));
  if (!workload->has_problems())
    return std::max(1, workload->longest_prompt() + workload->longest_trace());
  double tokens = 0;
  const int steps = (kSample + batch - 1) / batch;
  for (int step = 0; step < steps; ++step) {
    const BatchRequest request{step, 0, batch, parts, [](int) { return true; }};
    WEFT_TRY_ASSIGN(const auto sample, pretrain ? workload->pretrain_batch(request)
                                                : workload->cold_start_batch(request));
    for (const trainer::MicroBatch& one : sample) tokens += one.num_tokens();
  }
  const double each = tokens / (static_cast<double>(steps) * batch);
  return std::max(1, static_cast<int>(std::lround(each)));
}

const SupervisedJob& stage_job(const Job& job) {
  return stage_of_work(job) == "pretrain" ? job.pretrain : job.cold_start;
}

/// What evaluations and reinforcement learning sample at once, and the micro-batches that the
/// engine makes room for.
Expected<void> add_workload(const Job& job, Work& work) {
  int prompt = 0, trace = 0;
  if (job.data.task != "text" && job.data.task != "files") {  // there are problems to sample
    WEFT_TRY_ASSIGN(const auto workload, Workload::open(job, {}));
    prompt = workload->longest_prompt();
    trace = workload->longest_trace();
    work.rollout_prompt = prompt;
    const auto sample = [&](int sequences, int completion) {
      work.rollout_sequences = std::max<double>(work.rollout_sequences, sequences);
      work.rollout_tokens = std::max<double>(work.rollout_tokens, prompt + completion);
    };
    for (const std::string& stage : job.recipe) {
      if (stage == "pretrain") sample(job.pretrain.eval_problems, trace);
      if (stage == "cold_start") sample(job.cold_start.eval_problems, trace);
      if (stage == "grpo")
        sample(
            std::max(job.grpo.prompts_per_step * job.grpo.num_generations, job.grpo.eval_problems),
            job.grpo.max_completion_length);
    }
  }
  const int completion = std::max(trace, job.grpo.max_completion_length);
  const int most = engine_options(job, prompt, completion).max_tokens;
  work.largest_micro_batch = std::max(1.0, most / work.micro_batch_tokens());
  return {};
}

}  // namespace

std::string stage_of_work(const Job& job) {
  return std::ranges::find(job.recipe, "pretrain") != job.recipe.end() ? "pretrain" : "cold_start";
}

long long steps_of_work(const Job& job) { return stage_job(job).steps; }

Expected<double> full_steps(const Job& job, long long done) {
  const SupervisedJob& stage = stage_job(job);
  WEFT_TRY_ASSIGN(const Course course, course_of(stage, sequence_tokens(job)));
  return static_cast<double>(course.plan.sequences_before(done)) / stage.batch;
}

Expected<Work> work_of(const Job& job) {
  if (job.device == "virtual")
    return fail(Code::InvalidArgument,
                "device: virtual computes nothing that could be planned; weft schedule draws and "
                "costs its schedule, weft run walks it");
  const auto runs = [&](const char* stage) {
    return std::ranges::find(job.recipe, stage) != job.recipe.end();
  };
  if (!runs("pretrain") && !runs("cold_start"))
    return fail(Code::InvalidArgument,
                "the recipe has no supervised stage to plan: add pretrain or cold_start");
  const SupervisedJob& stage = stage_job(job);
  Work work;
  work.model = shape_of(job.model);
  const ParallelJob& p = job.parallel;
  WEFT_TRY_ASSIGN(work.layout.kind, dualpipe::parse_kind(p.schedule));
  work.layout.pipeline = p.pipeline;
  work.layout.data = p.data;
  work.layout.expert = p.expert;
  work.layout.micro_batches = p.micro_batches;
  WEFT_TRY_ASSIGN(work.sequence, mean_sequence(job, runs("pretrain")));
  work.micro_batch_sequences = 1.0 * stage.batch / (p.data * p.micro_batches);
  WEFT_TRY_ASSIGN(work.precision, scheduler::parse_precision(job.precision));
  WEFT_TRY_ASSIGN(work.dispatch, scheduler::parse_precision(p.dispatch_payload));
  WEFT_TRY_ASSIGN(work.recompute, scheduler::parse_recompute(p.recompute));
  work.overlap = p.overlap;
  work.redundant_experts = p.expert > 1 && runs("grpo") ? p.redundant_experts : 0;
  work.bf16_moments = job.optimizer.moments == "bf16";
  work.checkpoint_every = job.checkpoint.every_steps;
  WEFT_TRY(add_workload(job, work));
  WEFT_TRY_ASSIGN(work.steps, full_steps(job, stage.steps));
  return work;
}

}  // namespace weft::runtime

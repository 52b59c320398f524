// The table's chapters about layout and surroundings: ranks, devices, checkpoints, control.
#include "runtime/job/fields.h"

#define WEFT_AT(member) [](Job& job) -> Slot { return &job.member; }

namespace weft::runtime {
namespace {

constexpr auto kMay = OnResume::MayChange;

void add_parallel(std::vector<Field>& out) {
  out.push_back(
      {.path = "parallel.pipeline",
       .type = FieldType::Int,
       .slot = WEFT_AT(parallel.pipeline),
       .range = {1, 1024},
       .unit = "positions",
       .help = "P, the pipeline positions that the layers are cut over. With dualpipe a position "
               "holds two stages, p and P-1-p.",
       .interacts = "world = pipeline x data; model.num_hidden_layers must give every stage a "
                    "layer; parallel.schedule sets the rule on its size",
       .example = "2",
       .names = {{"Megatron", "pipeline_model_parallel_size"},
                 {"NeMo-RL", "policy.megatron_cfg.pipeline_model_parallel_size"},
                 {"verl", "actor_rollout_ref.actor.megatron.pipeline_model_parallel_size"},
                 {"common", "parallel.pp"},
                 {"paper", "PP"}},
       .on_resume = kMay});
  out.push_back(
      {.path = "parallel.data",
       .type = FieldType::Int,
       .slot = WEFT_AT(parallel.data),
       .range = {1, 4096},
       .unit = "ranks a stage",
       .help = "D, the ranks of one stage group. Dense weights are replicated over them, optimizer "
               "state is sharded over them, and each is a lane with "
               "micro-batches of its own.",
       .interacts = "world = pipeline x data; parallel.expert must divide it; the batch is cut "
                    "over data x micro_batches",
       .example = "2",
       .names = {{"Megatron", "data_parallel_size"}, {"common", "parallel.dp"}, {"paper", "DP"}},
       .on_resume = kMay});
  out.push_back({.path = "parallel.expert",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(parallel.expert),
                 .range = {1, 4096},
                 .unit = "expert shards",
                 .help = "E: so many of a stage's ranks together hold all experts; dispatch and "
                         "combine are exchanges among them.",
                 .interacts = "must divide parallel.data and model.n_routed_experts",
                 .example = "2",
                 .names = {{"Megatron", "expert_model_parallel_size"},
                           {"NeMo-RL", "policy.megatron_cfg.expert_model_parallel_size"},
                           {"verl", "actor_rollout_ref.actor.megatron.expert_model_parallel_size"},
                           {"common", "parallel.ep"},
                           {"paper", "EP"}},
                 .on_resume = kMay});
  out.push_back(
      {.path = "parallel.schedule",
       .type = FieldType::Choice,
       .slot = WEFT_AT(parallel.schedule),
       .choices = {"gpipe", "1f1b", "interleaved", "zb1p", "zbv", "dualpipe", "dualpipev"},
       .help = "The order of forwards and backwards in a step. dualpipe feeds "
               "micro-batches from both ends and overlaps each forward with a "
               "backward of the other direction; it needs an even pipeline and at least "
               "two micro-batches a position. interleaved, zbv and dualpipev cut the "
               "model into two stages a position. See weft schedule.",
       .interacts = "parallel.pipeline, parallel.micro_batches, parallel.overlap",
       .example = "dualpipe",
       .names = {{"torchtitan", "parallelism.pipeline_parallel_schedule"},
                 {"paper", "DualPipe, DeepSeek-V3 3.2.1"}},
       .on_resume = kMay});
  out.push_back({.path = "parallel.micro_batches",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(parallel.micro_batches),
                 .range = {1, 65536},
                 .unit = "a lane and step",
                 .help = "Micro-batches of one lane in one step; with dualpipe both directions "
                         "together. More of them shrink the bubble's share.",
                 .interacts = "parallel.schedule (dualpipe: even, at least 2 x pipeline); batch >= "
                              "parallel.data x micro_batches",
                 .example = "4",
                 .names = {{"DeepSpeed", "gradient_accumulation_steps"},
                           {"TRL", "gradient_accumulation_steps"},
                           {"torchtitan", "parallelism.pipeline_parallel_microbatches"}},
                 .on_resume = kMay});
  out.push_back({.path = "parallel.overlap",
                 .type = FieldType::Bool,
                 .slot = WEFT_AT(parallel.overlap),
                 .help = "Compute the attention and experts of one direction while the other "
                         "direction's expert exchange is on its way. Changes time, not numbers.",
                 .interacts = "parallel.schedule: only dualpipe has pairs to overlap",
                 .example = "true",
                 .on_resume = kMay});
  out.push_back(
      {.path = "parallel.recompute",
       .type = FieldType::Choice,
       .slot = WEFT_AT(parallel.recompute),
       .choices = {"none", "mla_up", "full"},
       .help = "Activations that a backward computes again instead of keeping them. mla_up: the "
               "norms and the up-projections of the attention, nearly free. full: each block "
               "keeps only its input and the chosen experts, and runs forward once more, its "
               "dispatch included. Trades time for memory, changes no number.",
       .interacts = "parallel.schedule says how many micro-batches are in flight; "
                    "parallel.overlap hides the second dispatch too",
       .example = "mla_up",
       .names = {{"Megatron", "recompute_granularity"},
                 {"NeMo-RL", "policy.megatron_cfg.activation_checkpointing"},
                 {"TRL", "gradient_checkpointing"},
                 {"paper", "DeepSeek-V3 3.2.3"}},
       .on_resume = kMay});
  out.push_back(
      {.path = "parallel.redundant_experts",
       .type = FieldType::Int,
       .slot = WEFT_AT(parallel.redundant_experts),
       .range = {0, 1024},
       .unit = "experts of a rank and MoE layer",
       .help = "So many copies of busy experts a rank takes beside its own while completions are "
               "sampled: which ones follows from the loads of the last steps and rollouts, their "
               "weights are copied after each update, and their memory is free again in training. "
               "No result depends on it. 0: one copy of each expert.",
       .interacts = "parallel.expert must be 2 or more; at most model.n_routed_experts less a "
                    "rank's own. Worth it where the busiest rank of an expert group holds the "
                    "others up (metric rollout/expert_imbalance)",
       .example = "1",
       .names = {{"SGLang", "ep_num_redundant_experts"},
                 {"vLLM", "eplb_config.num_redundant_experts"},
                 {"paper", "DeepSeek-V3 3.4.1"}},
       .on_resume = kMay});
  out.push_back(
      {.path = "parallel.dispatch_payload",
       .type = FieldType::Choice,
       .slot = WEFT_AT(parallel.dispatch_payload),
       .choices = {"fp32", "bf16", "fp8"},
       .help =
           "How rows travel to their experts, and their gradients in the backward of combine. "
           "bf16 and fp8 (E4M3, one power-of-two scale for 128 values) are a half and a quarter "
           "of the bytes; they round, on every rank alike, so that the numbers do not depend "
           "on the layout. What comes back from the experts is always full.",
       .interacts = "parallel.expert: with one shard nothing travels, and rows are rounded all the "
                    "same",
       .example = "fp8",
       .names = {{"paper", "DeepSeek-V3 3.3.3"}}});
  out.push_back(
      {.path = "parallel.transport",
       .type = FieldType::Choice,
       .slot = WEFT_AT(parallel.transport),
       .choices = {"local"},
       .help =
           "How bytes move between ranks. local: shared memory between the processes of a node, "
           "and TCP between the nodes of a run that several agents share.",
       .interacts = "parallel.pipeline x parallel.data: at most 64 ranks have been tried",
       .example = "local",
       .names = {{"PyTorch", "backend"}},
       .on_resume = kMay});
  out.push_back({.path = "parallel.threads",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(parallel.threads),
                 .range = {1, 1024},
                 .unit = "a worker",
                 .help = "Threads that one worker computes with. pipeline x data x threads above "
                         "the machine's cores makes every step slower.",
                 .interacts = "parallel.pipeline, parallel.data",
                 .example = "1",
                 .names = {{"PyTorch", "OMP_NUM_THREADS"}},
                 .on_resume = kMay});
}

void add_surroundings(std::vector<Field>& out) {
  out.push_back({.path = "checkpoint.every_steps",
                 .type = FieldType::Count,
                 .slot = WEFT_AT(checkpoint.every_steps),
                 .range = {0, 1e9},
                 .unit = "steps",
                 .help = "A checkpoint after so many steps, and at the end of every recipe stage. "
                         "0: only at the ends.",
                 .interacts = "checkpoint.keep",
                 .example = "200",
                 .names = {{"TRL", "save_steps"},
                           {"verl", "trainer.save_freq"},
                           {"NeMo-RL", "checkpointing.save_period"}},
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.interval",
                 .type = FieldType::Choice,
                 .slot = WEFT_AT(checkpoint.interval),
                 .choices = {"steps", "auto"},
                 .help = "steps: as checkpoint.every_steps says. auto: as often as it pays, by "
                         "Young's and Daly's rule from the measured stall, the measured step and "
                         "the failures that the run has seen; weft events RUN --kind "
                         "checkpoint_interval shows them.",
                 .interacts = "checkpoint.every_steps, checkpoint.mtbf",
                 .example = "auto",
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.mtbf",
                 .type = FieldType::Duration,
                 .slot = WEFT_AT(checkpoint.mtbf_s),
                 .range = {0, 1e9},
                 .help = "With interval auto: how long this run is expected to go without a "
                         "failure. It weighs as much as one failure seen. 0: 50,000 hours over the "
                         "number of ranks.",
                 .interacts = "checkpoint.interval",
                 .example = "12h",
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.async",
                 .type = FieldType::Bool,
                 .slot = WEFT_AT(checkpoint.async),
                 .help = "Training goes on while a checkpoint is written: it stands still for the "
                         "copy alone (twice a rank's state in memory, at most). false: until the "
                         "checkpoint is whole.",
                 .interacts = "nothing; it changes no number",
                 .example = "true",
                 .names = {{"torchtitan", "checkpoint.async_mode"}, {"Megatron", "async_save"}},
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.keep",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(checkpoint.keep),
                 .range = {1, 10000},
                 .unit = "checkpoints",
                 .help = "The newest so many complete checkpoints stay; older ones are deleted "
                         "only after a newer one is whole.",
                 .interacts = "checkpoint.keep_every_steps, checkpoint.keep_every; weft ckpt pin "
                              "keeps one for good",
                 .example = "3",
                 .names = {{"TRL", "save_total_limit"},
                           {"verl", "trainer.max_actor_ckpt_to_keep"},
                           {"NeMo-RL", "checkpointing.keep_top_k"}},
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.keep_every_steps",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(checkpoint.keep_every_steps),
                 .range = {0, 1e9},
                 .unit = "steps",
                 .help = "Beside the newest, the checkpoints of every so many steps stay. 0: none.",
                 .interacts = "checkpoint.keep; checkpoints must fall on those steps",
                 .example = "5000",
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.keep_every",
                 .type = FieldType::Duration,
                 .slot = WEFT_AT(checkpoint.keep_every_s),
                 .range = {0, 1e9},
                 .help = "Beside the newest, the first checkpoint of every such span of time "
                         "stays. 0: none.",
                 .interacts = "checkpoint.keep",
                 .example = "6h",
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.memory_every_steps",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(checkpoint.memory_every_steps),
                 .range = {0, 1e9},
                 .unit = "steps",
                 .help = "Between checkpoints the state is copied into the nodes' memory after so "
                         "many steps, outside of the worker processes: when one of them dies, the "
                         "others start again from there and not from the older checkpoint. Of "
                         "several nodes each keeps what its ranks hold and what another one's do, "
                         "so that the loss of one node costs no more. Takes four times the size of "
                         "what a node keeps in memory. 0: no such copies.",
                 .interacts = "checkpoint.memory_limit",
                 .example = "5",
                 .on_resume = kMay});
  out.push_back({.path = "checkpoint.memory_limit",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(checkpoint.memory_limit_gib),
                 .range = {0, 1e6},
                 .unit = "GiB",
                 .help = "The copies in a node's memory take no more than this: without room for "
                         "three of them, two complete and one being made, on every node there are "
                         "none. 0: half of what is free when the workers start.",
                 .interacts = "checkpoint.memory_every_steps",
                 .example = "64",
                 .on_resume = kMay});
  out.push_back({.path = "trace.steps",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(trace.steps),
                 .range = {0, 1000},
                 .unit = "steps",
                 .help = "Each worker keeps what it did in its last so many steps in a ring in the "
                         "run directory: every phase, exchange and message with its times. weft "
                         "trace draws it, also while the run lives and after it was killed. It "
                         "costs less than a hundredth of a step. 0: nothing is recorded.",
                 .interacts = "nothing; it changes no number",
                 .example = "8",
                 .on_resume = kMay});
  out.push_back({.path = "control.host",
                 .type = FieldType::Text,
                 .slot = WEFT_AT(control.host),
                 .help = "The address that the coordinator listens on.",
                 .interacts = "control.port",
                 .example = "127.0.0.1",
                 .names = {{"torchrun", "master_addr"}},
                 .on_resume = kMay});
  out.push_back({.path = "control.port",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(control.port),
                 .range = {0, 65535},
                 .help = "The TCP port that the coordinator listens on. 0: any free one.",
                 .interacts = "control.host",
                 .example = "0",
                 .names = {{"torchrun", "master_port"}},
                 .on_resume = kMay});
  out.push_back({.path = "control.heartbeat",
                 .type = FieldType::Duration,
                 .slot = WEFT_AT(control.heartbeat_s),
                 .range = {0.01, 3600},
                 .help = "How often an agent and the coordinator hear of each other. An agent that "
                         "was silent for three of these is lost: the next generation forms "
                         "without its node.",
                 .interacts = "control.wait_bound must be longer",
                 .example = "1s",
                 .names = {{"NVRx", "workload_check_interval"}},
                 .on_resume = kMay});
  out.push_back({.path = "control.wait_bound",
                 .type = FieldType::Duration,
                 .slot = WEFT_AT(control.wait_bound_s),
                 .range = {0.1, 86400},
                 .help = "The bound of every wait between ranks; when it ends, the error names who "
                         "waited for whom, at which action.",
                 .interacts = "control.heartbeat must be shorter; must exceed the longest step",
                 .example = "60s",
                 .names = {{"PyTorch", "timeout"}, {"NCCL", "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC"}},
                 .on_resume = kMay});
  out.push_back({.path = "control.retries",
                 .type = FieldType::Int,
                 .slot = WEFT_AT(control.retries),
                 .range = {0, 1000},
                 .help =
                     "After a failure the workers are started again from the newest checkpoint. "
                     "So many times in a row without a new step or checkpoint, then the run "
                     "ends with the cause. 0: the first failure without progress ends it. "
                     "Errors of the job or its data are never retried.",
                 .interacts = "checkpoint.every_steps",
                 .example = "4",
                 .names = {{"torchrun", "max_restarts"}},
                 .on_resume = kMay});
  out.push_back({.path = "control.hang_factor",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(control.hang_factor),
                 .range = {1, 100000},
                 .help = "No progress of any rank for so many times the measured step time is a "
                         "hang: the generation ends and the next one forms.",
                 .interacts = "control.hang_min is the least; control.wait_bound may be sooner",
                 .example = "10",
                 .on_resume = kMay});
  out.push_back({.path = "control.hang_min",
                 .type = FieldType::Duration,
                 .slot = WEFT_AT(control.hang_min_s),
                 .range = {0.1, 86400},
                 .help = "A hang is not seen sooner than this, however short the steps are.",
                 .interacts = "control.hang_factor",
                 .example = "10s",
                 .on_resume = kMay});
  out.push_back({.path = "control.disk_wait",
                 .type = FieldType::Duration,
                 .slot = WEFT_AT(control.disk_wait_s),
                 .range = {0, 86400},
                 .help =
                     "A run directory that cannot be written, as on a full disk, is tried again "
                     "for so long; then the run ends with the reason.",
                 .interacts = "checkpoint.keep says how much of the disk checkpoints take",
                 .example = "60s",
                 .on_resume = kMay});
}

}  // namespace

void add_general_fields(std::vector<Field>& out) {
  add_parallel(out);
  add_surroundings(out);
}

}  // namespace weft::runtime

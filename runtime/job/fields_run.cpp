// The table's first chapter: the run itself.
#include "runtime/job/fields.h"

#define WEFT_AT(member) [](Job& job) -> Slot { return &job.member; }

namespace weft::runtime {
namespace {

constexpr auto kMay = OnResume::MayChange;

}  // namespace

void add_run_fields(std::vector<Field>& out) {
  out.push_back(
      {.path = "name",
       .type = FieldType::Text,
       .slot = WEFT_AT(name),
       .help = "The run's name and the last part of its directory, runs/<name>. Letters, digits, "
               "'.', '_' and '-'; at most 64.",
       .interacts = "the command line's --dir puts the run elsewhere",
       .example = "r1-zero-arithmetic",
       .names = {{"TRL", "run_name"}, {"verl", "trainer.experiment_name"}},
       .on_resume = kMay});
  out.push_back(
      {.path = "seed",
       .type = FieldType::Count,
       .slot = WEFT_AT(seed),
       .range = {0, 0x1p53},
       .help =
           "Every random draw of the run is a function of this number and of what it is for (step, "
           "sample, token), never of which process draws it: the same seed gives the same run, bit "
           "for bit.",
       .interacts = "nothing; layouts share it",
       .example = "1",
       .names = {{"TRL", "seed"}, {"verl", "data.seed"}}});
  out.push_back({.path = "recipe",
                 .type = FieldType::Choices,
                 .slot = WEFT_AT(recipe),
                 .choices = {"pretrain", "cold_start", "grpo"},
                 .help = "The stages of training, in order; each at most once. pretrain learns "
                         "from complete traces "
                         "or text, cold_start from traces of mixed quality, grpo by rewards alone.",
                 .interacts = "data.task: grpo and cold_start need a task with answers; the groups "
                              "pretrain, cold_start, grpo "
                              "configure the stages named here",
                 .example = "[pretrain, cold_start, grpo]",
                 .names = {{"paper", "R1-Zero: [pretrain, grpo]"}}});
  out.push_back({.path = "device",
                 .type = FieldType::Choice,
                 .slot = WEFT_AT(device),
                 .choices = {"cpu", "virtual"},
                 .help = "What a worker computes with. virtual: the same workers, schedule, "
                         "executor and messages, but a phase is a wait of a given length "
                         "(group virtual): rehearse a layout without its model. recipe, model, "
                         "data and what configures them are then not used, and no checkpoint is "
                         "written.",
                 .interacts = "virtual.* with virtual, and every group of the recipe without",
                 .example = "virtual",
                 .names = {{"verl", "trainer.device"}}});
  out.push_back(
      {.path = "precision",
       .type = FieldType::Choice,
       .slot = WEFT_AT(precision),
       .choices = {"f32", "bf16", "fp8"},
       .help = "What is kept for the backward, and what products are made of. bf16: half the "
               "bytes and up to twice the speed; sums, the residual stream, the gate, "
               "softmax, losses, gradients of weights and the weights that the optimizer updates "
               "stay f32. fp8: as bf16, with the products of attention's and experts' "
               "projections made of E4M3 numbers, and their inputs kept so, as DeepSeek-V3 trains; "
               "emulated, so it saves memory but no time here. Both need a processor with "
               "AVX-512.",
       .interacts = "optimizer.moments; parallel.dispatch_payload (bf16 rows lose nothing in "
                    "bf16, fp8 rows almost nothing in fp8); fp8.*; a run cannot change it when it "
                    "resumes",
       .example = "bf16",
       .names = {{"TRL", "bf16"},
                 {"Megatron", "bf16"},
                 {"verl", "actor_rollout_ref.actor.fsdp_config.model_dtype"},
                 {"paper", "DeepSeek-V3 3.3"}}});
  out.push_back({.path = "fp8.scales",
                 .type = FieldType::Choice,
                 .slot = WEFT_AT(fp8.scales),
                 .choices = {"fp32", "power_of_two"},
                 .help = "The scale of a tile of FP8 numbers. fp32: largest / 448, as DeepSeek-V3. "
                         "power_of_two: the smallest that holds the largest number, as its "
                         "successors. Scales of dispatched rows and of the input of the linear "
                         "after attention are powers of two in any case.",
                 .interacts = "precision: read with fp8 only",
                 .example = "power_of_two",
                 .names = {{"DeepSeek", "scale_fmt"}, {"paper", "DeepSeek-V3 3.3.2"}}});
  out.push_back({.path = "fp8.gradient_tiles",
                 .type = FieldType::Choice,
                 .slot = WEFT_AT(fp8.gradient_tiles),
                 .choices = {"1x128", "128x128"},
                 .help = "Which numbers of an activation's gradient share a scale. 128x128 is "
                         "refused: DeepSeek-V3 reports that a 16B model diverged with it after "
                         "300B tokens.",
                 .interacts = "precision: read with fp8 only",
                 .example = "1x128",
                 .names = {{"paper", "DeepSeek-V3 B.2"}}});
  out.push_back(
      {.path = "rewards",
       .type = FieldType::Rewards,
       .slot = WEFT_AT(rewards),
       .choices = {"accuracy.answer", "format.think_answer"},
       .help = "What grpo rewards, as a list of {name, weight}; the reward is the weighted sum and "
               "every part "
               "is logged on its own. accuracy.answer: 1 when the content of <answer> is the right "
               "answer. "
               "format.think_answer: 1 when the completion is <think>…</think><answer>…</answer>.",
       .interacts = "grpo.scale_rewards divides the advantages afterwards",
       .example =
           "[{name: accuracy.answer, weight: 1.0}, {name: format.think_answer, weight: 0.2}]",
       .names = {{"TRL", "reward_funcs"},
                 {"TRL", "reward_weights"},
                 {"paper", "R1 2.2.2: rule-based rewards"}}});
}

}  // namespace weft::runtime

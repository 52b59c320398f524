// The table's third chapter: the optimizer and the stages of the recipe.
#include "runtime/job/fields.h"

#define WEFT_AT(member) [](Job& job) -> Slot { return &job.member; }
#define WEFT_IN(stage, member) [](Job& job) -> Slot { return &(job.*stage).member; }

namespace weft::runtime {
namespace {

constexpr auto kMay = OnResume::MayChange;

void add_optimizer(std::vector<Field>& out) {
  const auto add = [&](std::string path, Slot (*slot)(Job&), Range range, std::string_view help,
                       std::string_view interacts, std::string_view example,
                       std::vector<OtherName> names) {
    out.push_back({.path = std::move(path),
                   .type = FieldType::Real,
                   .slot = slot,
                   .range = range,
                   .help = help,
                   .interacts = interacts,
                   .example = example,
                   .names = std::move(names)});
  };
  add("optimizer.beta1", WEFT_AT(optimizer.beta1), {0, 1, false, true},
      "AdamW's decay of the mean of gradients.", "nothing", "0.9",
      {{"TRL", "adam_beta1"}, {"paper", "β1"}});
  add("optimizer.beta2", WEFT_AT(optimizer.beta2), {0, 1, false, true},
      "AdamW's decay of the mean of squared gradients. DeepSeek-V3 uses 0.95.", "nothing", "0.95",
      {{"TRL", "adam_beta2"}, {"paper", "β2"}});
  add("optimizer.epsilon", WEFT_AT(optimizer.epsilon), {0, 1, true},
      "Added to the root of the squared gradients' mean.", "nothing", "1e-8",
      {{"TRL", "adam_epsilon"}});
  add("optimizer.weight_decay", WEFT_AT(optimizer.weight_decay), {0, 10},
      "Decoupled decay of matrices; norms and biases have none.", "the learning rates multiply it",
      "0.1", {{"TRL", "weight_decay"}, {"verl", "actor_rollout_ref.actor.optim.weight_decay"}});
  out.push_back({.path = "optimizer.moments",
                 .type = FieldType::Choice,
                 .slot = WEFT_AT(optimizer.moments),
                 .choices = {"f32", "bf16"},
                 .help = "How AdamW's two moments are kept, in memory and in checkpoints. bf16: "
                         "half the bytes, rounded to nearest even after every update, as "
                         "DeepSeek-V3 does. The weights that they update stay f32.",
                 .interacts = "optimizer.beta1, optimizer.beta2: above 0.996 a bf16 moment's decay "
                              "can be lost in its rounding",
                 .example = "bf16",
                 .names = {{"Megatron", "exp_avg_dtype"}, {"paper", "DeepSeek-V3 3.3.1"}}});
  add("optimizer.clip_norm", WEFT_AT(optimizer.clip_norm), {0, 1e9},
      "Gradients are scaled down to this norm over all parameters of all ranks. 0: never.",
      "nothing", "1.0",
      {{"TRL", "max_grad_norm"},
       {"verl", "actor_rollout_ref.actor.grad_clip"},
       {"NeMo-RL", "policy.max_grad_norm"}});
}

/// pretrain and cold_start have the same fields; Stage says which.
template <auto Stage>
void add_supervised(std::vector<Field>& out, const std::string& stage) {
  const auto add = [&](const char* leaf, FieldType type, Slot (*slot)(Job&), Range range,
                       std::string_view unit, std::string_view help, std::string_view interacts,
                       std::string_view example, std::vector<OtherName> names,
                       OnResume on_resume = OnResume::Same) {
    out.push_back({.path = stage + "." + leaf,
                   .type = type,
                   .slot = slot,
                   .range = range,
                   .unit = unit,
                   .help = help,
                   .interacts = interacts,
                   .example = example,
                   .names = std::move(names),
                   .on_resume = on_resume});
  };
  using enum FieldType;
  add("steps", Count, WEFT_IN(Stage, steps), {0, 1e9}, "optimizer steps",
      "At most so many steps; the target may end the stage before.", "target_accuracy, lr_schedule",
      "1200", {{"TRL", "max_steps"}, {"Megatron", "train_iters"}}, kMay);
  add("batch", Count, WEFT_IN(Stage, batch), {1, 1e7}, "sequences a step",
      "Sequences of one optimizer step, over all lanes and micro-batches.",
      "at least parallel.data x parallel.micro_batches", "16",
      {{"Megatron", "global_batch_size"}, {"NeMo-RL", "policy.train_global_batch_size"}});
  add("lr", Real, WEFT_IN(Stage, lr), {0, 10}, "", "Learning rate after the warm-up.",
      "warmup, lr_schedule, min_lr", "1e-3", {{"TRL", "learning_rate"}});
  add("min_lr", Real, WEFT_IN(Stage, min_lr), {0, 10}, "",
      "Where the cosine ends; a constant rate ignores it.", "lr must not be smaller", "0",
      {{"Megatron", "min_lr"}});
  add("lr_schedule", Choice, WEFT_IN(Stage, lr_schedule), {}, "",
      "constant: lr after the warm-up. cosine: from lr down to min_lr at the last step.",
      "lr, min_lr, steps", "cosine", {{"TRL", "lr_scheduler_type"}});
  out.back().choices = {"constant", "cosine"};
  add("warmup", Count, WEFT_IN(Stage, warmup), {0, 1e9}, "steps",
      "The rate rises linearly from 0 to lr over so many steps.", "steps should be larger", "20",
      {{"TRL", "warmup_steps"}});
  add("eval_every", Count, WEFT_IN(Stage, eval_every), {0, 1e9}, "steps",
      "An evaluation after so many steps, and always at the end. 0: only at the end.",
      "target_accuracy is looked at there", "100",
      {{"TRL", "eval_steps"}, {"verl", "trainer.test_freq"}}, kMay);
  add("eval_problems", Int, WEFT_IN(Stage, eval_problems), {1, 1 << 20}, "problems",
      "Held-out problems of one evaluation, each sampled once at temperature 1.", "eval_difficulty",
      "128", {{"NeMo-RL", "grpo.max_val_samples"}}, kMay);
  add("eval_difficulty", Int, WEFT_IN(Stage, eval_difficulty), {0, 64}, "",
      "Evaluate only problems of this difficulty. 0: all of them.",
      "data.min_difficulty, data.max_difficulty", "6", {}, kMay);
  add("target_accuracy", Real, WEFT_IN(Stage, target_accuracy), {0, 1}, "share",
      "The stage ends when an evaluation reaches this accuracy: train to the skill, not to a step "
      "count. 0: never.",
      "eval_every must be set; steps still bounds it", "0.9", {}, kMay);
}

void add_cold_start(std::vector<Field>& out) {
  const auto add = [&](std::string path, Slot (*slot)(Job&), std::string_view help,
                       std::string_view interacts, std::string_view example) {
    out.push_back({.path = std::move(path),
                   .type = FieldType::Real,
                   .slot = slot,
                   .range = {0, 1},
                   .unit = "share of the traces",
                   .help = help,
                   .interacts = interacts,
                   .example = example});
  };
  add("cold_start.blind", WEFT_AT(cold_start.blind), "Traces that answer at once with a guess.",
      "cold_start.blind + cold_start.complete is at most 1; the rest gives up early", "0.30");
  add("cold_start.complete", WEFT_AT(cold_start.complete),
      "Traces whose chain of thought is complete and right.",
      "cold_start.blind + cold_start.complete is at most 1; the rest gives up early", "0.25");
  add("cold_start.broken_format", WEFT_AT(cold_start.broken_format),
      "Traces of any kind whose <think> or <answer> marks are broken.",
      "independent of blind and complete", "0.30");
}

void add_grpo_sampling(std::vector<Field>& out) {
  using enum FieldType;
  out.push_back(
      {.path = "grpo.steps",
       .type = Count,
       .slot = WEFT_AT(grpo.steps),
       .range = {0, 1e9},
       .unit = "generation steps",
       .help =
           "At most so many rounds of sampling and learning; the target may end the stage before.",
       .interacts = "grpo.target_accuracy, grpo.num_iterations",
       .example = "60",
       .names = {{"TRL", "max_steps"},
                 {"verl", "trainer.total_training_steps"},
                 {"NeMo-RL", "grpo.max_num_steps"}},
       .on_resume = kMay});
  out.push_back(
      {.path = "grpo.prompts_per_step",
       .type = Count,
       .slot = WEFT_AT(grpo.prompts_per_step),
       .range = {1, 1e6},
       .unit = "prompts",
       .help = "Different problems of one step; each gets a group of completions.",
       .interacts =
           "grpo.num_generations; prompts x generations >= parallel.data x parallel.micro_batches",
       .example = "8",
       .names = {{"verl", "data.train_batch_size"}, {"NeMo-RL", "grpo.num_prompts_per_step"}}});
  out.push_back({.path = "grpo.num_generations",
                 .type = Int,
                 .slot = WEFT_AT(grpo.num_generations),
                 .range = {2, 65536},
                 .unit = "completions a prompt",
                 .help = "Completions sampled for each prompt: the group whose mean reward is the "
                         "baseline. Below 2 there is nothing to compare.",
                 .interacts = "grpo.prompts_per_step, grpo.scale_rewards",
                 .example = "16",
                 .names = {{"TRL", "num_generations"},
                           {"verl", "actor_rollout_ref.rollout.n"},
                           {"NeMo-RL", "grpo.num_generations_per_prompt"},
                           {"paper", "G"}}});
  out.push_back({.path = "grpo.max_completion_length",
                 .type = Count,
                 .slot = WEFT_AT(grpo.max_completion_length),
                 .range = {1, 1 << 20},
                 .unit = "tokens",
                 .help = "A completion is cut here when it has not ended before.",
                 .interacts = "model.max_position_embeddings must hold prompt and completion; "
                              "data.max_difficulty sets the longest chain",
                 .example = "48",
                 .names = {{"TRL", "max_completion_length"},
                           {"verl", "data.max_response_length"},
                           {"NeMo-RL", "policy.generation.max_new_tokens"}}});
  out.push_back({.path = "grpo.temperature",
                 .type = Real,
                 .slot = WEFT_AT(grpo.temperature),
                 .range = {0, 100, true},
                 .help = "Logits are divided by it when completions are sampled.",
                 .interacts = "log-probabilities of the loss are taken at the same temperature",
                 .example = "1.0",
                 .names = {{"TRL", "temperature"},
                           {"verl", "actor_rollout_ref.rollout.temperature"},
                           {"NeMo-RL", "policy.generation.temperature"}}});
}

void add_grpo_loss(std::vector<Field>& out) {
  using enum FieldType;
  out.push_back(
      {.path = "grpo.lr",
       .type = Real,
       .slot = WEFT_AT(grpo.lr),
       .range = {0, 10},
       .help = "Learning rate after the warm-up; constant.",
       .interacts = "grpo.warmup",
       .example = "3e-4",
       .names = {{"TRL", "learning_rate"}, {"verl", "actor_rollout_ref.actor.optim.lr"}}});
  out.push_back({.path = "grpo.warmup",
                 .type = Count,
                 .slot = WEFT_AT(grpo.warmup),
                 .range = {0, 1e9},
                 .unit = "steps",
                 .help = "The rate rises linearly from 0 to lr over so many steps.",
                 .interacts = "grpo.lr",
                 .example = "0",
                 .names = {{"TRL", "warmup_steps"},
                           {"verl", "actor_rollout_ref.actor.optim.lr_warmup_steps"}}});
  out.push_back(
      {.path = "grpo.beta",
       .type = Real,
       .slot = WEFT_AT(grpo.beta),
       .range = {0, 1000},
       .help = "Weight of the KL estimate (k3) to the reference, the model at the start of the "
               "stage. 0, TRL's default, needs no reference; DeepSeek-R1 uses 0.001.",
       .interacts = "above 0 a reference copy is kept and scored every step",
       .example = "0.001",
       .names = {{"TRL", "beta"},
                 {"verl", "actor_rollout_ref.actor.kl_loss_coef"},
                 {"NeMo-RL", "loss_fn.reference_policy_kl_penalty"},
                 {"paper", "β"}}});
  out.push_back({.path = "grpo.epsilon",
                 .type = Real,
                 .slot = WEFT_AT(grpo.epsilon),
                 .range = {0, 1, true, true},
                 .help = "The probability ratio is clipped below at 1 - epsilon.",
                 .interacts = "grpo.epsilon_high; without effect while grpo.num_iterations is 1",
                 .example = "0.2",
                 .names = {{"TRL", "epsilon"},
                           {"verl", "actor_rollout_ref.actor.clip_ratio_low"},
                           {"NeMo-RL", "loss_fn.ratio_clip_min"},
                           {"paper", "ε"}}});
  out.push_back(
      {.path = "grpo.epsilon_high",
       .type = Real,
       .slot = WEFT_AT(grpo.epsilon_high),
       .range = {0, 100, true},
       .help =
           "The probability ratio is clipped above at 1 + epsilon_high. DAPO raises it to 0.28.",
       .interacts = "grpo.epsilon",
       .example = "0.28",
       .names = {{"TRL", "epsilon_high"},
                 {"verl", "actor_rollout_ref.actor.clip_ratio_high"},
                 {"NeMo-RL", "loss_fn.ratio_clip_max"},
                 {"paper", "ε_high"}}});
  out.push_back({.path = "grpo.num_iterations",
                 .type = Int,
                 .slot = WEFT_AT(grpo.num_iterations),
                 .range = {1, 1000},
                 .unit = "optimizer steps a batch",
                 .help = "How often each sampled batch is learned from.",
                 .interacts = "grpo.epsilon clips from the second on",
                 .example = "1",
                 .names = {{"TRL", "num_iterations"},
                           {"verl", "actor_rollout_ref.actor.ppo_epochs"},
                           {"paper", "μ"}}});
  out.push_back(
      {.path = "grpo.loss_type",
       .type = Choice,
       .slot = WEFT_AT(grpo.loss_type),
       .choices = {"grpo", "dapo", "dr_grpo"},
       .help =
           "How tokens are averaged. grpo: each completion counts the same (DeepSeekMath). dapo: "
           "each token counts the same. dr_grpo: sum over tokens divided by max_completion_length.",
       .interacts = "grpo.max_completion_length (dr_grpo), grpo.scale_rewards",
       .example = "grpo",
       .names = {{"TRL", "loss_type"},
                 {"verl", "actor_rollout_ref.actor.loss_agg_mode"},
                 {"NeMo-RL", "loss_fn.token_level_loss"}}});
  out.push_back({.path = "grpo.scale_rewards",
                 .type = Choice,
                 .slot = WEFT_AT(grpo.scale_rewards),
                 .choices = {"group", "batch", "none"},
                 .help = "What a reward minus its group's mean is divided by: the group's standard "
                         "deviation, the batch's, or nothing (Dr.GRPO).",
                 .interacts = "grpo.num_generations",
                 .example = "group",
                 .names = {{"TRL", "scale_rewards"},
                           {"verl", "algorithm.norm_adv_by_std_in_grpo"},
                           {"NeMo-RL", "grpo.normalize_rewards"}}});
}

void add_grpo_evaluation(std::vector<Field>& out) {
  using enum FieldType;
  out.push_back(
      {.path = "grpo.eval_every",
       .type = Count,
       .slot = WEFT_AT(grpo.eval_every),
       .range = {0, 1e9},
       .unit = "steps",
       .help = "An evaluation after so many steps, and always at the end. 0: only at the end.",
       .interacts = "grpo.target_accuracy is looked at there",
       .example = "10",
       .names = {{"TRL", "eval_steps"},
                 {"verl", "trainer.test_freq"},
                 {"NeMo-RL", "grpo.val_period"}},
       .on_resume = kMay});
  out.push_back({.path = "grpo.eval_problems",
                 .type = Int,
                 .slot = WEFT_AT(grpo.eval_problems),
                 .range = {1, 1 << 20},
                 .unit = "problems",
                 .help = "Held-out problems of one evaluation, each sampled once at temperature 1.",
                 .interacts = "grpo.eval_every",
                 .example = "256",
                 .names = {{"NeMo-RL", "grpo.max_val_samples"}},
                 .on_resume = kMay});
  out.push_back({.path = "grpo.target_accuracy",
                 .type = Real,
                 .slot = WEFT_AT(grpo.target_accuracy),
                 .range = {0, 1},
                 .unit = "share",
                 .help = "The stage ends when an evaluation reaches this accuracy. 0: never.",
                 .interacts = "grpo.eval_every must be set; grpo.steps still bounds it",
                 .example = "0.95",
                 .on_resume = kMay});
}

}  // namespace

void add_training_fields(std::vector<Field>& out) {
  add_optimizer(out);
  add_supervised<&Job::pretrain>(out, "pretrain");
  add_supervised<&Job::cold_start>(out, "cold_start");
  add_cold_start(out);
  add_grpo_sampling(out);
  add_grpo_loss(out);
  add_grpo_evaluation(out);
}

}  // namespace weft::runtime

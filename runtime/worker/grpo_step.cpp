#include "runtime/worker/grpo_step.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "trainer/rl/metrics.h"

namespace weft::runtime {

using nlohmann::json;
namespace data = trainer::data;
namespace rl = trainer::rl;

namespace {

rl::LossType loss_type(const std::string& name) {
  return name == "dapo"      ? rl::LossType::Dapo
         : name == "dr_grpo" ? rl::LossType::DrGrpo
                             : rl::LossType::Grpo;
}

rl::ScaleRewards scale_rewards(const std::string& name) {
  return name == "batch"  ? rl::ScaleRewards::Batch
         : name == "none" ? rl::ScaleRewards::None
                          : rl::ScaleRewards::Group;
}

struct Sample {
  data::Problem problem;
  std::string text;  // the completion without its end token
  rl::Score score;
  bool truncated = false;
};

/// Rank 0's rewards are everybody's: a verifier need not be deterministic, nor run everywhere.
Expected<std::vector<float>> share_rewards(Engine& engine, std::span<const Sample> samples) {
  std::vector<float> rewards;
  for (const Sample& sample : samples) rewards.push_back(static_cast<float>(sample.score.total));
  WEFT_TRY(dualpipe::at_place(engine.recorder(), dualpipe::Place::Rewards, [&] {
    return comm::broadcast(engine.world(), 0, std::as_writable_bytes(std::span(rewards)));
  }));
  return rewards;
}

/// A batch of these sequences for a forward pass; each sequence's completion log-probabilities.
Expected<std::vector<std::vector<float>>> completion_logprobs(
    Engine& engine, std::span<const data::Example> examples, bool reference) {
  WEFT_TRY_ASSIGN(const auto batch, data::pack_score(examples, engine.num_micro_batches()));
  WEFT_TRY_ASSIGN(const Engine::Scores scores,
                  reference ? engine.score_with_reference(batch) : engine.score(batch));
  std::vector<std::vector<float>> result;
  for (std::size_t s = 0; s < examples.size(); ++s) {
    // Token t predicts t + 1, so the first completion token's value stands one before it.
    const auto first = scores.logprobs[s].begin() + examples[s].prompt_length - 1;
    result.emplace_back(first, scores.logprobs[s].end());
  }
  return result;
}

json sample_line(const Job& job, const Sample& sample, std::size_t index, float advantage,
                 long long step, int length) {
  json rewards = json::object();
  for (const auto& [name, value] : sample.score.components) rewards[name] = value;
  return {{"step", step},
          {"id", index},
          {"group", index / job.grpo.num_generations},
          {"input", sample.problem.prompt},
          {"output", sample.text},
          {"gts", sample.problem.answer},
          {"extracted", sample.score.extracted},
          {"score", sample.score.total},
          {"rewards", rewards},
          {"advantage", advantage},
          {"length", length},
          {"truncated", sample.truncated},
          {"difficulty", sample.problem.difficulty}};
}

json step_record(const rl::StepSummary& summary, const TrainResult& result) {
  json record = {{"loss", result.loss},
                 {"grad_norm", result.grad_norm},
                 {"entropy", result.entropy},
                 {"kl", result.kl},
                 {"clip_ratio", result.clipped},
                 {"reward", summary.reward_mean},
                 {"reward_std", summary.reward_std},
                 {"accuracy", summary.accuracy},
                 {"completions/mean_length", summary.length_mean},
                 {"completions/p95_length", summary.length_p95},
                 {"completions/clipped_ratio", summary.truncated_share},
                 {"frac_reward_zero_std", summary.zero_std_share}};
  for (const auto& [name, mean] : summary.component_means)
    record["rewards/" + name + "/mean"] = mean;
  json by_difficulty = json::object();
  for (const rl::DifficultyMean& mean : summary.by_difficulty)
    by_difficulty[std::to_string(mean.difficulty)] = mean.length;
  record["length_by_difficulty"] = by_difficulty;
  return record;
}

/// How evenly the experts' ranks shared the rollout; nothing where they are on one.
void add_rollout_load(const RolloutLoad& load, json& record) {
  if (load.home == 0) return;
  record["rollout/expert_imbalance"] = load.served;
  if (load.replicas == 0) return;
  record["rollout/expert_imbalance_without_replicas"] = load.home;
  record["rollout/replicas"] = load.replicas;
  record["rollout/replicas_copied"] = load.copied;
  record["rollout/replica_bytes_copied"] = load.copied_bytes;
  record["rollout/replica_seconds"] = load.seconds;
}

}  // namespace

Expected<GrpoStep::Result> GrpoStep::run() {
  const GrpoJob& grpo = job.grpo;
  std::vector<std::vector<std::int32_t>> prompts;
  std::vector<Sample> samples;
  for (int p = 0; p < grpo.prompts_per_step; ++p) {
    const data::Problem problem = workload.task().problem(
        job.seed, data::Split::Train,
        static_cast<std::uint64_t>(state.stage_step) * grpo.prompts_per_step + p);
    const auto prompt = data::prompt_tokens(workload.tokenizer(), problem.prompt);
    for (int g = 0; g < grpo.num_generations; ++g) {
      prompts.push_back(prompt);
      samples.push_back({problem, {}, {}, false});
    }
  }
  GenerateOptions options;
  options.max_new_tokens = grpo.max_completion_length;
  options.temperature = grpo.temperature;
  options.end_token = workload.tokenizer().eos();
  options.seed = job.seed;
  options.purpose = "rollout";
  options.step = static_cast<std::uint64_t>(state.step);
  WEFT_TRY_ASSIGN(const std::vector<Completion> completions, engine.generate(prompts, options));
  const RolloutLoad rollout_load = engine.rollout_load();

  std::vector<data::Example> examples;
  std::vector<int> lengths;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    std::vector<std::int32_t> tokens = completions[i].tokens;
    lengths.push_back(static_cast<int>(tokens.size()));
    data::Example example{prompts[i], static_cast<int>(prompts[i].size())};
    example.tokens.insert(example.tokens.end(), tokens.begin(), tokens.end());
    examples.push_back(std::move(example));
    if (completions[i].finished) tokens.pop_back();
    samples[i].text = workload.tokenizer().decode(tokens);
    samples[i].truncated = !completions[i].finished;
    samples[i].score = workload.rewards().score(samples[i].text, samples[i].problem.answer);
  }
  WEFT_TRY_ASSIGN(const std::vector<float> rewards, share_rewards(engine, samples));
  const std::vector<float> advantages =
      rl::advantages(rewards, grpo.num_generations, scale_rewards(grpo.scale_rewards));
  const std::vector<float> weights =
      rl::token_weights(loss_type(grpo.loss_type), lengths, grpo.max_completion_length);

  // On policy (one iteration) the ratio is one by construction and needs no second forward pass.
  std::vector<std::vector<float>> old_logprobs, ref_logprobs;
  if (grpo.num_iterations > 1) {
    WEFT_TRY_ASSIGN(old_logprobs, completion_logprobs(engine, examples, false));
  }
  if (grpo.beta > 0) {
    WEFT_TRY_ASSIGN(ref_logprobs, completion_logprobs(engine, examples, true));
  }
  std::vector<data::GrpoSequence> sequences;
  Result out;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    out.tokens += static_cast<long long>(examples[i].tokens.size());
    sequences.push_back({std::move(examples[i]), advantages[i], weights[i],
                         old_logprobs.empty() ? std::vector<float>() : old_logprobs[i],
                         ref_logprobs.empty() ? std::vector<float>() : ref_logprobs[i]});
  }
  const rl::GrpoOptions grpo_options{grpo.epsilon, grpo.epsilon_high, grpo.beta};
  WEFT_TRY_ASSIGN(const auto batch,
                  data::pack_grpo(sequences, engine.num_micro_batches(), grpo_options));
  const double lr = state.stage_step < grpo.warmup
                        ? grpo.lr * static_cast<double>(state.stage_step + 1) / grpo.warmup
                        : grpo.lr;
  TrainResult result;
  for (int iteration = 0; iteration < grpo.num_iterations; ++iteration) {
    WEFT_TRY_ASSIGN(result, engine.train(batch, lr, state.adam_step + 1, stop));
    if (result.applied) ++state.adam_step;
    out.stop |= result.stop_requested;
    out.applied &= result.applied;
    out.tries = std::max(out.tries, result.tries);
    if (result.corruption) out.corruption = result.corruption;
  }
  out.record = std::make_unique<json>();
  if (!reports) return out;

  std::vector<rl::Outcome> outcomes;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const Sample& sample = samples[i];
    outcomes.push_back({sample.score, rl::accuracy_answer(sample.text, sample.problem.answer) > 0,
                        lengths[i], sample.truncated, sample.problem.difficulty});
    out.samples.push_back(sample_line(job, sample, i, advantages[i], state.step + 1, lengths[i]));
  }
  *out.record = step_record(rl::summarize(outcomes, grpo.num_generations), result);
  add_rollout_load(rollout_load, *out.record);
  (*out.record)["lr"] = lr;
  return out;
}

}  // namespace weft::runtime

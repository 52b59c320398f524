// The stages of the recipe.
#include <set>

#include "dualpipe/schedule.h"
#include "runtime/job/course.h"
#include "runtime/job/rules.h"

namespace weft::runtime {

long long Rules::smallest_batch() const {
  return 1LL * job_.parallel.data * job_.parallel.micro_batches;
}

void Rules::check_batch(const std::vector<std::string>& batch_fields, long long batch,
                        const std::string& shown) {
  if (batch >= smallest_batch()) return;
  std::vector<std::string> involved = batch_fields;
  involved.insert(involved.end(), {"parallel.data", "parallel.micro_batches"});
  error(std::move(involved),
        shown + " = " + number(batch) +
            " leaves a micro-batch empty: parallel.data = " + number(job_.parallel.data) +
            " x parallel.micro_batches = " + number(job_.parallel.micro_batches) +
            " need at least " + number(smallest_batch()),
        "raise it to " + number(smallest_batch()) + " or lower parallel.micro_batches");
}

/// A rollout keeps every position of every lane busy in each direction; see Engine::generate.
long long Rules::micro_batches_in_flight() const {
  const ParallelJob& p = job_.parallel;
  const auto kind = dualpipe::parse_kind(p.schedule);
  const int directions = kind ? dualpipe::num_directions(*kind) : 1;
  return 1LL * p.data * directions * ((p.pipeline + directions - 1) / directions);
}

void Rules::check_in_flight(const std::vector<std::string>& prompt_fields, long long prompts,
                            const std::string& shown) {
  if (job_.data.task == "text" || job_.data.task == "files" || prompts >= micro_batches_in_flight())
    return;
  std::vector<std::string> involved = prompt_fields;
  involved.insert(involved.end(), {"parallel.pipeline", "parallel.data"});
  error(std::move(involved),
        shown + " = " + number(prompts) + " leaves ranks without a prompt: parallel.pipeline = " +
            number(job_.parallel.pipeline) + " and parallel.data = " + number(job_.parallel.data) +
            " keep " + number(micro_batches_in_flight()) + " micro-batches in flight",
        "at least " + number(micro_batches_in_flight()));
}

void Rules::check_supervised(const std::string& stage, const SupervisedJob& job) {
  if (!runs(stage)) return;
  check_in_flight({stage + ".eval_problems"}, job.eval_problems, stage + ".eval_problems");
  check_course(stage, job);
  if (job.min_lr > job.lr && job.lr_schedule == "cosine")
    error({stage + ".min_lr", stage + ".lr"}, stage + ".min_lr is above " + stage + ".lr",
          "the cosine falls from lr to min_lr");
  if (job.warmup > job.steps && job.steps > 0)
    warn({stage + ".warmup", stage + ".steps"},
         stage + ".warmup = " + number(job.warmup) + " is longer than " + stage +
             ".steps = " + number(job.steps),
         "the rate never reaches lr");
  check_target(stage, job.target_accuracy, job.eval_every);
  if (job_.data.task != "text" && job_.data.task != "files" && job.eval_difficulty != 0 &&
      (job.eval_difficulty < job_.data.min_difficulty ||
       job.eval_difficulty > job_.data.max_difficulty))
    error({stage + ".eval_difficulty", "data.min_difficulty", "data.max_difficulty"},
          stage + ".eval_difficulty = " + number(job.eval_difficulty) +
              " is outside data.min_difficulty..data.max_difficulty",
          number(job_.data.min_difficulty) + " to " + number(job_.data.max_difficulty) +
              ", or 0 for all");
}

void Rules::check_course(const std::string& stage, const SupervisedJob& job) {
  if (job.batch_start > 0)
    check_batch({stage + ".batch_start"}, job.batch_start, stage + ".batch_start");
  else
    check_batch({stage + ".batch"}, job.batch, stage + ".batch");
  if (job.batch_ramp > 0 && job.batch_start == 0)
    warn({stage + ".batch_ramp", stage + ".batch_start"},
         stage + ".batch_ramp has no effect while " + stage + ".batch_start = 0",
         "say where the ramp begins, such as " + stage + ".batch_start: 4");
  const auto course = course_of(job, sequence_tokens(job_));
  if (course) return;
  const std::string& all = course.error().message;
  const std::size_t cut = all.find('\n');
  const std::string leaf = all.substr(0, all.find_first_of(" :"));
  error({stage + "." + leaf}, stage + "." + all.substr(0, cut), all.substr(cut + 1));
}

void Rules::check_target(const std::string& stage, double target, int eval_every) {
  if (target > 0 && eval_every == 0)
    warn({stage + ".target_accuracy", stage + ".eval_every"},
         stage + ".target_accuracy is never looked at while " + stage + ".eval_every = 0",
         "such as " + stage + ".eval_every: 100");
  if (target > 0 && (job_.data.task == "text" || job_.data.task == "files"))
    warn({stage + ".target_accuracy", "data.task"},
         stage + ".target_accuracy has no meaning for data.task = " + job_.data.task, "delete it");
}

void Rules::check_cold_start() {
  const ColdStartJob& c = job_.cold_start;
  if (runs("cold_start") && c.blind + c.complete > 1.0 + 1e-9)
    error({"cold_start.blind", "cold_start.complete"},
          "cold_start.blind + cold_start.complete is more than 1",
          "they are shares; what remains gives up early");
}

void Rules::check_grpo() {
  if (!runs("grpo")) return;
  const GrpoJob& g = job_.grpo;
  check_batch({"grpo.prompts_per_step", "grpo.num_generations"},
              1LL * g.prompts_per_step * g.num_generations,
              "grpo.prompts_per_step x grpo.num_generations");
  check_in_flight({"grpo.prompts_per_step", "grpo.num_generations"},
                  1LL * g.prompts_per_step * g.num_generations,
                  "grpo.prompts_per_step x grpo.num_generations");
  check_in_flight({"grpo.eval_problems"}, g.eval_problems, "grpo.eval_problems");
  if (g.max_completion_length >= job_.model.max_position_embeddings)
    error({"grpo.max_completion_length", "model.max_position_embeddings"},
          "grpo.max_completion_length = " + number(g.max_completion_length) +
              " leaves no room for a prompt in model.max_position_embeddings = " +
              number(job_.model.max_position_embeddings),
          "lower it, or raise model.max_position_embeddings");
  if (g.epsilon_high < g.epsilon)
    warn({"grpo.epsilon_high", "grpo.epsilon"}, "grpo.epsilon_high is below grpo.epsilon",
         "equal is PPO's clip, higher is DAPO's");
  check_target("grpo", g.target_accuracy, g.eval_every);
}

void Rules::check_rewards() {
  if (!runs("grpo")) return;
  if (job_.rewards.empty())
    error({"rewards", "recipe"}, "grpo without rewards has nothing to learn from",
          "such as [{name: accuracy.answer, weight: 1}]");
  std::set<std::string> seen;
  bool any = false;
  for (const RewardJob& reward : job_.rewards) {
    if (!seen.insert(reward.name).second)
      error({"rewards"}, "rewards names '" + reward.name + "' twice", "add the weights");
    any = any || reward.weight != 0;
  }
  if (!job_.rewards.empty() && !any)
    error({"rewards"}, "all weights in rewards are 0", "such as accuracy.answer: 1");
}

}  // namespace weft::runtime

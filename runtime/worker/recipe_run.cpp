#include "runtime/worker/recipe_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/coordinator/messages.h"
#include "runtime/worker/engine_of_job.h"
#include "runtime/worker/step_ring.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

/// What only the data tells: every problem, prompt and completion together, must have its
/// positions. Said before the first step, not when a stage comes to it.
Expected<void> check_lengths(const Job& job, const Workload& workload) {
  if (!workload.has_problems()) return {};
  const int prompt = workload.longest_prompt(), room = job.model.max_position_embeddings;
  const auto fits = [&](int completion, const std::string& what,
                        const std::string& instead) -> Expected<void> {
    if (prompt + completion <= room) return {};
    return fail(
        Code::InvalidArgument,
        "model.max_position_embeddings = " + std::to_string(room) +
            " is too small for data.max_difficulty = " + std::to_string(job.data.max_difficulty) +
            ": a prompt of " + std::to_string(prompt) + " tokens and " + what + " of " +
            std::to_string(completion) + "; raise it to " + std::to_string(prompt + completion) +
            ", or lower " + instead);
  };
  const bool rewards = std::ranges::find(job.recipe, "grpo") != job.recipe.end();
  if (job.recipe.size() > (rewards ? 1 : 0))
    WEFT_TRY(fits(workload.longest_trace(), "a trace", "data.max_difficulty"));
  if (rewards)
    WEFT_TRY(fits(job.grpo.max_completion_length, "grpo.max_completion_length",
                  "grpo.max_completion_length"));
  return {};
}

/// Records that one step of any stage of the recipe writes at most, or as many as are worth
/// keeping: of a longer step (rollouts of thousands of tokens) the newest stay.
std::size_t records_of_step(const Job& job, Engine& engine) {
  constexpr std::size_t kMax = 1 << 16, kMaxOfRing = 1 << 22;  // 300 MB a rank
  std::size_t records = engine.train_records();
  if (std::ranges::find(job.recipe, "grpo") != job.recipe.end()) {
    const GrpoJob& grpo = job.grpo;
    const auto iterations = static_cast<std::size_t>(grpo.num_iterations);
    const std::size_t scores = (iterations > 1) + (grpo.beta > 0);
    const std::size_t forwards = static_cast<std::size_t>(grpo.max_completion_length) + scores;
    records = iterations * records + forwards * engine.forward_records();
  }
  return std::min({records, kMax, kMaxOfRing / static_cast<std::size_t>(job.trace.steps + 1)});
}

void open_ring(RecipeRun& run) {
  // What ranks of a larger layout have left would be drawn beside the present ones' steps.
  const int world = run.engine->placement().layout.world();
  std::error_code error;
  for (int rank = world; run.reports() && !run.options.traces.empty(); ++rank)
    if (!std::filesystem::remove(run.options.traces / fmt::format("rank-{:04}.ring", rank), error))
      break;
  run.ring = open_step_ring({run.options.traces, run.options.attempt, run.job.trace.steps,
                             run.job.trace.steps == 0 ? 0 : records_of_step(run.job, *run.engine)},
                            run.engine->ring_info(), run.reporter, run.clock);
  if (run.ring) run.engine->set_recorder(&run.ring->recorder());
}

/// The files must be those that the checkpoint's steps were made with, wherever they are now.
Expected<void> check_data(RecipeRun& run) {
  const std::string present = run.workload->files() ? run.workload->files()->fingerprint() : "";
  if (!run.state.data.empty() && run.state.data != present)
    return fail(Code::InvalidArgument,
                "the checkpoint " + run.resumed_from +
                    " was made with other data than the files have now (data.train, data.sft); a "
                    "run goes on only with the data it began with");
  run.state.data = present;
  return {};
}

/// What the coordinator chose and nothing else: only it knows which checkpoints count.
Expected<Engine::Loaded> load(RecipeRun& run) {
  const std::optional<std::string>& chosen = run.options.resume;
  if (!chosen) return run.engine->load_newest(run.options.checkpoints);
  Expected<Engine::Loaded> loaded =
      is_in_memory(*chosen)
          ? run.engine->load_copy(run.options.memory, chosen->substr(kInMemory.size()),
                                  static_cast<std::uint64_t>(run.options.resume_generation),
                                  run.nodes)
          : run.engine->load_chosen(run.options.checkpoints, *chosen);
  if (loaded) loaded->name = *chosen;
  if (loaded || chosen->empty() || loaded.error().code != Code::Corrupt) return loaded;
  run.event("skipped_checkpoint", "skipped " + *chosen + ": " + loaded.error().message);
  run.reporter.damaged(*chosen);
  return loaded;
}

Expected<void> resume(RecipeRun& run) {
  WEFT_TRY_ASSIGN(const Engine::Loaded loaded, load(run));
  for (const std::string& skipped : loaded.skipped) run.event("skipped_checkpoint", skipped);
  if (loaded.name.empty()) {
    run.event("started", "no checkpoint yet: starting from initial weights", {{"step", 0}});
    return check_data(run);
  }
  WEFT_TRY_ASSIGN(run.state, parse_recipe_state(loaded.state));
  if (run.state.stage > static_cast<int>(run.job.recipe.size()))
    return fail(Code::InvalidArgument, "the checkpoint is beyond the end of this job's recipe");
  run.resumed_from = loaded.name;
  WEFT_TRY(check_data(run));
  if (run.state.samples < 0) {  // of a version that counted steps alone
    const bool cold = run.has_stage() && run.stage_name() == "cold_start";
    run.state.samples =
        run.state.stage_step *
        (cold ? run.job.cold_start : static_cast<const SupervisedJob&>(run.job.pretrain)).batch;
  }
  const bool complete = !run.has_stage();
  run.event(
      "resumed",
      std::string("resumed from ") +
          (is_in_memory(loaded.name) ? "the copy in memory" : loaded.name) + " at step " +
          std::to_string(run.state.step) + " (saved by " + loaded.layout + ")" +
          (complete ? ": nothing is left to do (a stage that has ended takes no more steps)" : ""),
      {{"step", run.state.step}, {"checkpoint", loaded.name}});
  return {};
}

}  // namespace

void RecipeRun::event(const std::string& kind, const std::string& message, const json& details) {
  if (reports()) reporter.event(kind, message, details);
}

void RecipeRun::event(const std::string& kind, const std::string& message) {
  event(kind, message, json::object());
}

Expected<void> open_run(RecipeRun& run, comm::Transport& transport) {
  const Job& job = run.job;
  WEFT_TRY_ASSIGN(run.workload,
                  Workload::open(job, data_directory(job, run.options.checkpoints.parent_path())));
  WEFT_TRY(check_lengths(job, *run.workload));
  const int longest_prompt = run.workload->longest_prompt();
  const int longest_completion =
      std::max(run.workload->longest_trace(), job.grpo.max_completion_length);
  EngineOptions engine = engine_options(job, longest_prompt, longest_completion);
  engine.clock = &run.clock;
  WEFT_TRY_ASSIGN(run.engine, Engine::create(transport, engine));
  open_ring(run);
  if (job.checkpoint.memory_every_steps > 0 || is_in_memory(run.options.resume.value_or(""))) {
    WEFT_TRY_ASSIGN(run.nodes,
                    find_copy_nodes(run.engine->world(), run.options.node, run.options.leaf));
  }
  return resume(run);
}

}  // namespace weft::runtime

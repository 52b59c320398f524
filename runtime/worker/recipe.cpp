#include "runtime/worker/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/units.h"
#include "runtime/job/course.h"
#include "runtime/log/log.h"
#include "runtime/watch/stragglers.h"
#include "runtime/worker/checkpoint_pace.h"
#include "runtime/worker/evaluate.h"
#include "runtime/worker/expert_report.h"
#include "runtime/worker/fault.h"
#include "runtime/worker/grpo_step.h"
#include "runtime/worker/step_ring.h"
#include "runtime/worker/workload.h"
#include "trainer/data/pack.h"

namespace weft::runtime {

using nlohmann::json;
using trainer::MicroBatch;

namespace {

namespace data = trainer::data;

class Walker final : public Recipe {
 public:
  Walker(const Job& job, RecipeOptions options, Reporter& reporter, const Clock& clock)
      : job_(job), options_(std::move(options)), reporter_(reporter), clock_(clock) {}

  Expected<void> open(comm::Transport& transport);
  Expected<RecipeEnd> run() override;
  const RecipeState& state() const override { return state_; }
  Engine& engine() override { return *engine_; }

 private:
  enum class Stage { Pretrain, ColdStart, Grpo };
  struct StepOutcome {
    bool stop = false;  // some rank was asked to stop
    json record;        // what the metrics say of this step
    long long tokens = 0;
    bool applied = true;
    std::vector<double> expert_load;
    bool finite = true;
    int tries = 1;
    std::optional<TrainResult::Corruption> corruption;
  };

  void open_ring();
  Expected<void> resume();
  Expected<void> check_data();
  enum class StageEnd { Complete, CompleteAndStopped, Stopped };
  Expected<StageEnd> run_stage(Stage stage);
  Expected<void> begin_stage(Stage stage);
  Expected<StepOutcome> supervised_step(Stage stage);
  Expected<StepOutcome> grpo_step();
  Expected<json> evaluate(Stage stage);
  Expected<json> evaluate_loss(Stage stage);
  Expected<void> save(const std::string& why);
  Expected<void> finish_saves();
  void report_saved(const std::vector<Engine::Saved>& saved);
  void report_step(Stage stage, StepOutcome& outcome, double seconds);
  StepLimits step_limits() const;
  void remember(const TrainResult& result);
  Expected<void> judge_numbers(const StepOutcome& outcome);
  void watch_speed(StepOutcome& outcome);

  const SupervisedJob& supervised(Stage stage) const {
    return stage == Stage::Pretrain ? job_.pretrain : job_.cold_start;
  }
  int max_steps(Stage stage) const {
    return stage == Stage::Grpo ? job_.grpo.steps : supervised(stage).steps;
  }
  int eval_every(Stage stage) const {
    return stage == Stage::Grpo ? job_.grpo.eval_every : supervised(stage).eval_every;
  }
  double target_accuracy(Stage stage) const {
    return stage == Stage::Grpo ? job_.grpo.target_accuracy : supervised(stage).target_accuracy;
  }
  const std::string& stage_name() const { return job_.recipe[state_.stage]; }
  bool reports() const { return engine_->rank() == 0; }
  void event(const std::string& kind, const std::string& message,
             const json& details = json::object()) {
    if (reports()) reporter_.event(kind, message, details);
  }

  const Job& job_;
  RecipeOptions options_;
  Reporter& reporter_;
  const Clock& clock_;
  std::unique_ptr<Workload> workload_;
  std::unique_ptr<RingFile> ring_;  // null: nothing is recorded; the engine writes into it
  std::unique_ptr<Engine> engine_;
  RecipeState state_;
  std::optional<Course> course_;             // of the stage under way; grpo has none
  long long saved_step_ = -1;                // begun to be saved
  std::map<long long, std::string> saving_;  // step -> why
  double stall_seconds_ = 0;                 // for saves, since a step was last reported
  double write_seconds_ = 0;                 // of the saves that ended since then
  CheckpointPace pace_;         // rank 0's says when; the others hear of it in the step
  StragglerState stragglers_;   // rank 0's
  ExpertReport experts_{job_};  // rank 0's
  std::vector<int> peers_;
  std::string resumed_from_;
};

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

/// How often this run has lost a worker so far.
long long failures_in(const std::filesystem::path& events) {
  long long failures = 0;
  std::ifstream file(events);
  for (std::string line; std::getline(file, line);) {
    const json event = json::parse(line, nullptr, false);
    failures += event.is_object() && event.value("kind", json()) == "worker_failed" ? 1 : 0;
  }
  return failures;
}

Expected<void> Walker::open(comm::Transport& transport) {
  WEFT_TRY_ASSIGN(workload_,
                  Workload::open(job_, data_directory(job_, options_.checkpoints.parent_path())));
  WEFT_TRY(check_lengths(job_, *workload_));
  const int longest_prompt = workload_->longest_prompt();
  const int longest_completion =
      std::max(workload_->longest_trace(), job_.grpo.max_completion_length);
  EngineOptions engine = engine_options(job_, longest_prompt, longest_completion);
  engine.clock = &clock_;
  WEFT_TRY_ASSIGN(engine_, Engine::create(transport, engine));
  open_ring();
  WEFT_TRY(resume());
  CheckpointPace::Options pace;
  pace.automatic = job_.checkpoint.interval == "auto";
  pace.every_steps = job_.checkpoint.every_steps;
  pace.failure_seconds = job_.checkpoint.mtbf_s > 0
                             ? job_.checkpoint.mtbf_s
                             : expected_failure_seconds(transport.world_size());
  if (pace.automatic && reports())
    pace.failures = failures_in(options_.checkpoints.parent_path() / "events.jsonl");
  pace.steps = state_.step;
  pace_ = CheckpointPace(pace);
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

void Walker::open_ring() {
  // What ranks of a larger layout have left would be drawn beside the present ones' steps.
  const int world = engine_->placement().layout.world();
  std::error_code error;
  for (int rank = world; reports() && !options_.traces.empty(); ++rank)
    if (!std::filesystem::remove(options_.traces / fmt::format("rank-{:04}.ring", rank), error))
      break;
  ring_ = open_step_ring({options_.traces, options_.attempt, job_.trace.steps,
                          job_.trace.steps == 0 ? 0 : records_of_step(job_, *engine_)},
                         engine_->ring_info(), reporter_, clock_);
  if (ring_) engine_->set_recorder(&ring_->recorder());
}

/// The files must be those that the checkpoint's steps were made with, wherever they are now.
Expected<void> Walker::check_data() {
  const std::string present = workload_->files() ? workload_->files()->fingerprint() : "";
  if (!state_.data.empty() && state_.data != present)
    return fail(Code::InvalidArgument,
                "the checkpoint " + resumed_from_ +
                    " was made with other data than the files have now (data.train, data.sft); a "
                    "run goes on only with the data it began with");
  state_.data = present;
  return {};
}

Expected<void> Walker::resume() {
  WEFT_TRY_ASSIGN(const Engine::Loaded loaded, engine_->load_newest(options_.checkpoints));
  for (const std::string& skipped : loaded.skipped) event("skipped_checkpoint", skipped);
  if (loaded.name.empty()) {
    event("started", "no checkpoint yet: starting from initial weights", {{"step", 0}});
    return check_data();
  }
  WEFT_TRY_ASSIGN(state_, parse_recipe_state(loaded.state));
  if (state_.stage > static_cast<int>(job_.recipe.size()))
    return fail(Code::InvalidArgument, "the checkpoint is beyond the end of this job's recipe");
  saved_step_ = state_.step;
  resumed_from_ = loaded.name;
  WEFT_TRY(check_data());
  if (state_.samples < 0) {  // of a version that counted steps alone
    const bool cold =
        state_.stage < static_cast<int>(job_.recipe.size()) && stage_name() == "cold_start";
    state_.samples =
        state_.stage_step * supervised(cold ? Stage::ColdStart : Stage::Pretrain).batch;
  }
  const bool complete = state_.stage == static_cast<int>(job_.recipe.size());
  event(
      "resumed",
      "resumed from " + loaded.name + " at step " + std::to_string(state_.step) + " (saved by " +
          loaded.layout + ")" +
          (complete ? ": nothing is left to do (a stage that has ended takes no more steps)" : ""),
      {{"step", state_.step}, {"checkpoint", loaded.name}});
  return {};
}

Expected<RecipeEnd> Walker::run() {
  while (state_.stage < static_cast<int>(job_.recipe.size())) {
    const Stage stage = stage_name() == "pretrain"     ? Stage::Pretrain
                        : stage_name() == "cold_start" ? Stage::ColdStart
                                                       : Stage::Grpo;
    WEFT_TRY_ASSIGN(const StageEnd end, run_stage(stage));
    if (end == StageEnd::Stopped) {
      if (saved_step_ != state_.step) WEFT_TRY(save("stopped"));
      WEFT_TRY(finish_saves());
      return RecipeEnd::Stopped;
    }
    ++state_.stage;
    state_.stage_step = 0;
    state_.samples = 0;
    WEFT_TRY(save("end of " + job_.recipe[state_.stage - 1]));
    if (end == StageEnd::CompleteAndStopped &&
        state_.stage < static_cast<int>(job_.recipe.size())) {
      WEFT_TRY(finish_saves());
      return RecipeEnd::Stopped;
    }
  }
  WEFT_TRY(finish_saves());
  return RecipeEnd::Complete;
}

Expected<void> Walker::begin_stage(Stage stage) {
  engine_->reset_moments();
  state_.adam_step = 0;
  state_.recent_loss.clear();
  state_.recent_norm.clear();
  stragglers_ = {};
  event("stage", "begins " + stage_name(), {{"step", state_.step}, {"stage", stage_name()}});
  if (stage != Stage::Grpo) return {};
  reporter_.moved(Reporter::Moved::Other, state_.step, 0);
  if (job_.grpo.beta > 0) engine_->freeze_reference();
  WEFT_TRY_ASSIGN(const json scores, evaluate(stage));
  event("evaluation", "before reinforcement learning: " + describe_evaluation(scores), scores);
  return {};
}

Expected<Walker::StageEnd> Walker::run_stage(Stage stage) {
  if (stage != Stage::Grpo) {
    WEFT_TRY_ASSIGN(course_, course_of(supervised(stage), sequence_tokens(job_)));
  }
  if (state_.stage_step == 0) WEFT_TRY(begin_stage(stage));
  while (state_.stage_step < max_steps(stage)) {
    const Instant begin = clock_.now();
    if (reports() && pace_.is_due(state_.step + 1)) engine_->want_snapshot();
    reporter_.moved(Reporter::Moved::Stepping, state_.step, 0);
    if (ring_) ring_->recorder().begin_step(state_.step + 1, stage_name());
    fault_step(state_.step + 1);
    WEFT_TRY_ASSIGN(StepOutcome outcome,
                    stage == Stage::Grpo ? grpo_step() : supervised_step(stage));
    if (ring_) ring_->recorder().end_step();
    ++state_.step;
    ++state_.stage_step;
    state_.tokens += outcome.tokens;
    const double step_seconds = seconds(clock_.now() - begin);
    reporter_.moved(Reporter::Moved::Stepping, state_.step, step_seconds);
    WEFT_TRY(judge_numbers(outcome));
    watch_speed(outcome);

    const int every = eval_every(stage);
    const bool last = state_.stage_step == max_steps(stage);
    bool reached = false;
    if (last || (every > 0 && state_.stage_step % every == 0)) {
      reporter_.moved(Reporter::Moved::Other, state_.step, step_seconds);
      WEFT_TRY_ASSIGN(const json scores, evaluate(stage));
      outcome.record.update(scores);
      event("evaluation",
            "step " + std::to_string(state_.step) + ": " + describe_evaluation(scores), scores);
      const double target = target_accuracy(stage);
      reached = target > 0 && scores.value("eval_accuracy", 0.0) >= target;
      if (last && target > 0 && !reached)
        event("warning", stage_name() + " ended below its target accuracy of " +
                             std::to_string(target) + "; raise " + stage_name() + ".steps");
    }
    WEFT_TRY_ASSIGN(const std::vector<Engine::Saved> saved, engine_->finished_saves());
    report_saved(saved);
    report_step(stage, outcome, step_seconds);
    // The end of a stage is saved as such, also when it is asked to stop there: a resumed run must
    // not go on in a stage whose target was reached.
    if (reached || last) return outcome.stop ? StageEnd::CompleteAndStopped : StageEnd::Complete;
    if (engine_->has_snapshot())
      WEFT_TRY(save("every " + std::to_string(pace_.every_steps()) + " steps"));
    if (outcome.stop) return StageEnd::Stopped;
  }
  return StageEnd::Complete;
}

Expected<Walker::StepOutcome> Walker::supervised_step(Stage stage) {
  const long long step = state_.stage_step;
  const BatchRequest request{step, state_.samples, course_->plan.batch(step),
                             engine_->num_micro_batches(),
                             [&](int i) { return engine_->needs(i); }};
  WEFT_TRY_ASSIGN(std::vector<MicroBatch> batch, stage == Stage::Pretrain
                                                     ? workload_->pretrain_batch(request)
                                                     : workload_->cold_start_batch(request));
  const double lr = course_->learning_rate(step);
  const double mtp_weight =
      job_.model.num_nextn_predict_layers == 0 ? 0.0 : course_->next_token_weight(step);
  for (MicroBatch& part : batch) part.next_token_weight = static_cast<float>(mtp_weight);
  WEFT_TRY_ASSIGN(
      const TrainResult result,
      engine_->train(batch, lr, state_.adam_step + 1, options_.stop_requested(), step_limits()));
  remember(result);
  StepOutcome outcome;
  outcome.applied = result.applied;
  outcome.finite = std::isfinite(result.loss) && std::isfinite(result.grad_norm);
  outcome.tries = result.tries;
  outcome.corruption = result.corruption;
  if (result.applied) ++state_.adam_step;
  outcome.stop = result.stop_requested;
  outcome.expert_load = result.expert_load;
  for (const MicroBatch& part : batch) outcome.tokens += part.sequence_begin.back();
  state_.samples += request.sequences;
  outcome.record = {{"loss", result.loss},
                    {"lr", lr},
                    {"grad_norm", result.grad_norm},
                    {"entropy", result.entropy}};
  if (job_.model.aux_loss_alpha > 0) outcome.record["balance_loss"] = result.balance_loss;
  for (std::size_t k = 0; k < result.next_token_loss.size(); ++k)
    outcome.record["mtp_loss/" + std::to_string(k + 1)] = result.next_token_loss[k];
  if (!result.next_token_loss.empty()) outcome.record["mtp_weight"] = mtp_weight;
  return outcome;
}

Expected<Walker::StepOutcome> Walker::grpo_step() {
  GrpoStep step{job_, *workload_, *engine_, state_, options_.stop_requested(), reports()};
  WEFT_TRY_ASSIGN(GrpoStep::Result result, step.run());
  StepOutcome outcome;
  outcome.stop = result.stop;
  outcome.tokens = result.tokens;
  outcome.applied = result.applied;
  outcome.finite = result.applied;
  outcome.tries = result.tries;
  outcome.corruption = result.corruption;
  outcome.record = std::move(*result.record);
  if (reports()) reporter_.samples(state_.step + 1, result.samples);
  return outcome;
}

Expected<json> Walker::evaluate(Stage stage) {
  if (!workload_->has_problems()) return evaluate_loss(stage);
  Evaluation evaluation;
  evaluation.step = state_.step;
  evaluation.max_new_tokens =
      stage == Stage::Grpo ? job_.grpo.max_completion_length : workload_->longest_trace();
  evaluation.problems =
      stage == Stage::Grpo ? job_.grpo.eval_problems : supervised(stage).eval_problems;
  evaluation.difficulty = stage == Stage::Grpo ? 0 : supervised(stage).eval_difficulty;
  return evaluate_problems(job_, *workload_, *engine_, evaluation);
}

Expected<json> Walker::evaluate_loss(Stage stage) {
  const auto losses = [&]() -> Expected<json> {
    if (workload_->is_text()) return evaluate_text(*workload_, *engine_);
    const FileData& files = *workload_->files();
    return evaluate_files(stage == Stage::Pretrain ? files.pretrain : files.cold_start, *engine_);
  };
  WEFT_TRY_ASSIGN(json scores, losses());
  if (!engine_->has_average()) return scores;
  WEFT_TRY(engine_->swap_average());
  WEFT_TRY_ASSIGN(const json average, losses());
  WEFT_TRY(engine_->swap_average());
  if (average.contains("val_loss")) scores["ema_val_loss"] = average["val_loss"];
  return scores;
}

void Walker::report_step(Stage, StepOutcome& outcome, double step_seconds) {
  if (const auto pace = pace_.stepped(step_seconds)) event("checkpoint_interval", *pace);
  if (!reports()) return;
  json record = {{"step", state_.step},
                 {"stage", stage_name()},
                 {"stage_step", state_.stage_step},
                 {"tokens", state_.tokens},
                 {"tokens_per_second", static_cast<double>(outcome.tokens) / step_seconds},
                 {"step_seconds", step_seconds},
                 {"applied", outcome.applied}};
  record.update(outcome.record);
  if (stall_seconds_ > 0) record["checkpoint_stall_seconds"] = std::exchange(stall_seconds_, 0.0);
  if (write_seconds_ > 0) record["checkpoint_write_seconds"] = std::exchange(write_seconds_, 0.0);
  if (outcome.tries > 1) record["tries"] = outcome.tries;
  if (!outcome.applied) {
    const bool spike = outcome.finite;
    event(
        spike ? "spike" : "nonfinite",
        "step " + std::to_string(state_.step) + ": loss or gradient " +
            (spike ? "above watch.spike_factor times its median" : "not finite") +
            "; the update was left out" +
            (outcome.tries > 1 && !outcome.corruption ? " (a second try gave the same bits)" : ""),
        {{"step", state_.step}, {"tries", outcome.tries}});
  }
  reporter_.metrics(record);
  if (!outcome.applied) return;
  if (const auto said = experts_.stepped(state_.step, outcome.expert_load, step_seconds))
    event(said->kind, said->message, *said->details);
}

constexpr std::size_t kRecent = 16, kRecentMin = 8;  // updates that a median is made from

/// Nothing is a spike before there are enough updates to compare with.
StepLimits Walker::step_limits() const {
  const double factor = job_.watch.spike_factor;
  if (factor <= 0 || state_.recent_loss.size() < kRecentMin) return {};
  const auto limit = [&](std::vector<double> recent) {
    const auto middle = recent.begin() + static_cast<std::ptrdiff_t>(recent.size() / 2);
    std::ranges::nth_element(recent, middle);
    return factor * *middle;
  };
  return {limit(state_.recent_loss), limit(state_.recent_norm)};
}

void Walker::remember(const TrainResult& result) {
  if (job_.watch.spike_factor <= 0 || !result.applied) return;
  const auto keep = [](std::vector<double>& recent, double value) {
    if (recent.size() == kRecent) recent.erase(recent.begin());
    recent.push_back(value);
  };
  keep(state_.recent_loss, result.loss);
  keep(state_.recent_norm, result.grad_norm);
}

/// A rank that computed wrong without noticing: who, and whether the run may go on with it.
Expected<void> Walker::judge_numbers(const StepOutcome& outcome) {
  if (!outcome.corruption) return {};
  const std::string text =
      "silent corruption in step " + std::to_string(state_.step) + ": " + outcome.corruption->text;
  event("corruption", text, {{"step", state_.step}, {"ranks", outcome.corruption->ranks}});
  if (job_.watch.on_corruption == "continue") return {};
  return fail(Code::Corrupt, text +
                                 "; what it computed before is in doubt too. Take its machine "
                                 "out, or set watch.on_corruption: continue");
}

/// Rank 0: are there ranks that are slower than their peers, or than they were?
void Walker::watch_speed(StepOutcome& outcome) {
  const WatchJob& watch = job_.watch;
  if (!reports() || watch.straggler_threshold <= 0 || outcome.tries > 1) return;
  if (peers_.empty()) peers_ = engine_->peers();
  const StragglerOptions options{watch.straggler_threshold, watch.straggler_window};
  const StragglerFinding found =
      watch_stragglers(stragglers_, state_.step, engine_->self_seconds(),
                       static_cast<double>(outcome.tokens), peers_, options);
  if (!found.scored) return;
  const auto slowest = std::ranges::min(found.scores, {}, &StragglerScore::relative);
  outcome.record["straggler_score"] = slowest.relative;
  for (const StragglerChange& change : found.changes) {
    const bool swap = change.lasts && watch.swap_stragglers;
    if (change.lasts && !swap) continue;
    event(change.flagged ? "straggler" : "straggler_ended", describe(change, options),
          {{"rank", change.rank},
           {"stages", engine_->placement().ranks[static_cast<std::size_t>(change.rank)].stages},
           {"relative", change.score.relative},
           {"individual", change.score.individual},
           {"since", change.since},
           {"step", state_.step},
           {"swap", swap}});
  }
}

Expected<void> Walker::save(const std::string& why) {
  reporter_.moved(Reporter::Moved::Saving, state_.step, 0);
  if (reports()) reporter_.flush();
  WEFT_TRY(fault_point(FaultAt::Checkpoint));
  Engine::SaveInfo info;
  info.directory = options_.checkpoints;
  info.run = job_.name;
  info.attempt = options_.attempt;
  info.step = state_.step;
  info.tokens = state_.tokens;
  info.state = to_json_text(state_);
  info.wall_time = format_time(clock_.wall_now());
  info.parent = resumed_from_;
  info.keep = job_.checkpoint.keep;
  info.keep_every_steps = job_.checkpoint.keep_every_steps;
  info.keep_every_seconds = job_.checkpoint.keep_every_s;
  info.fingerprint = options_.fingerprint;
  engine_->begin_save(info);
  saved_step_ = state_.step;
  saving_[state_.step] = why;
  const double stall = engine_->take_stall_seconds();
  stall_seconds_ += stall;
  pace_.began(state_.step, stall);
  return job_.checkpoint.async ? Expected<void>{} : finish_saves();
}

Expected<void> Walker::finish_saves() {
  const Instant begin = clock_.now();
  WEFT_TRY_ASSIGN(const std::vector<Engine::Saved> saved, engine_->finish_saves());
  stall_seconds_ += seconds(clock_.now() - begin);
  report_saved(saved);
  return {};
}

void Walker::report_saved(const std::vector<Engine::Saved>& saved) {
  for (const Engine::Saved& one : saved) {
    write_seconds_ += one.write_seconds;
    pace_.wrote(one.write_seconds + one.commit_seconds);
    event("checkpoint", "saved " + one.name + " (" + saving_[one.step] + ")",
          {{"step", one.step},
           {"name", one.name},
           {"bytes", one.bytes},
           {"write_seconds", one.write_seconds},
           {"commit_seconds", one.commit_seconds}});
    for (const std::string& warning : one.warnings) event("warning", one.name + ": " + warning);
    saving_.erase(one.step);
  }
}

}  // namespace

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

Expected<std::unique_ptr<Recipe>> Recipe::open(const Job& job, comm::Transport& transport,
                                               RecipeOptions options, Reporter& reporter,
                                               const Clock& clock) {
  auto walker = std::make_unique<Walker>(job, std::move(options), reporter, clock);
  WEFT_TRY(walker->open(transport));
  return walker;
}

}  // namespace weft::runtime

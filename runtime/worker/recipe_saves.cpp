#include "runtime/worker/recipe_saves.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/units.h"
#include "runtime/coordinator/messages.h"
#include "runtime/worker/fault.h"

namespace weft::runtime {

using nlohmann::json;

namespace {

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

CheckpointPace pace_of(RecipeRun& run) {
  const CheckpointJob& checkpoint = run.job.checkpoint;
  CheckpointPace::Options pace;
  pace.automatic = checkpoint.interval == "auto";
  pace.every_steps = checkpoint.every_steps;
  pace.failure_seconds = checkpoint.mtbf_s > 0
                             ? checkpoint.mtbf_s
                             : expected_failure_seconds(run.engine->world().size());
  if (pace.automatic && run.reports())
    pace.failures = failures_in(run.options.checkpoints.parent_path() / "events.jsonl");
  pace.steps = run.state.step;
  return CheckpointPace(pace);
}

}  // namespace

Engine::SaveInfo save_info(const RecipeRun& run) {
  Engine::SaveInfo info;
  info.directory = run.options.checkpoints;
  info.run = run.job.name;
  info.attempt = run.options.attempt;
  info.step = run.state.step;
  info.tokens = run.state.tokens;
  info.state = to_json_text(run.state);
  info.wall_time = format_time(run.clock.wall_now());
  info.parent = run.resumed_from;
  info.keep = run.job.checkpoint.keep;
  info.keep_every_steps = run.job.checkpoint.keep_every_steps;
  info.keep_every_seconds = run.job.checkpoint.keep_every_s;
  info.fingerprint = run.options.fingerprint;
  return info;
}

RecipeSaves::RecipeSaves(RecipeRun& run)
    : run_(run),
      pace_(pace_of(run)),
      saved_step_(run.resumed_from.empty() || is_in_memory(run.resumed_from) ? -1
                                                                             : run.state.step) {}

void RecipeSaves::before_step() {
  if (!run_.reports()) return;
  if (run_.options.save_requested) asked_ = run_.options.save_requested();
  const long long step = run_.state.step + 1;
  if (pace_.is_due(step) || is_asked(step)) run_.engine->want_snapshot();
}

Expected<void> RecipeSaves::save(const std::string& why) {
  run_.reporter.moved(Reporter::Moved::Saving, run_.state.step, 0);
  if (run_.reports()) run_.reporter.flush();
  WEFT_TRY(fault_point(FaultAt::Checkpoint));
  run_.engine->begin_save(save_info(run_));
  saved_step_ = run_.state.step;
  const bool asked = is_asked(run_.state.step);
  saving_[run_.state.step] = {why, asked ? asked_.id : 0};
  if (asked) answered_ = asked_.id;
  const double stall = run_.engine->take_stall_seconds();
  stall_seconds_ += stall;
  pace_.began(run_.state.step, stall);
  return run_.job.checkpoint.async ? Expected<void>{} : finish();
}

Expected<void> RecipeSaves::save_snapshot() {
  if (!run_.engine->has_snapshot()) return {};
  return save(is_asked(run_.state.step)
                  ? "as asked"
                  : "every " + std::to_string(pace_.every_steps()) + " steps");
}

Expected<void> RecipeSaves::finish() {
  run_.reporter.moved(Reporter::Moved::Saving, run_.state.step, 0);
  const Instant begin = run_.clock.now();
  WEFT_TRY_ASSIGN(const std::vector<Engine::Saved> saved, run_.engine->finish_saves());
  stall_seconds_ += seconds(run_.clock.now() - begin);
  report(saved);
  return {};
}

Expected<void> RecipeSaves::take_finished() {
  WEFT_TRY_ASSIGN(const std::vector<Engine::Saved> saved, run_.engine->finished_saves());
  report(saved);
  return {};
}

void RecipeSaves::after_step(double step_seconds, json& record) {
  if (const auto pace = pace_.stepped(step_seconds)) run_.event("checkpoint_interval", *pace);
  if (!run_.reports()) return;
  if (stall_seconds_ > 0) record["checkpoint_stall_seconds"] = std::exchange(stall_seconds_, 0.0);
  if (write_seconds_ > 0) record["checkpoint_write_seconds"] = std::exchange(write_seconds_, 0.0);
}

void RecipeSaves::report(const std::vector<Engine::Saved>& saved) {
  for (const Engine::Saved& one : saved) {
    write_seconds_ += one.write_seconds;
    pace_.wrote(one.write_seconds + one.commit_seconds);
    const Begun& begun = saving_[one.step];
    json details = {{"step", one.step},
                    {"name", one.name},
                    {"bytes", one.bytes},
                    {"write_seconds", one.write_seconds},
                    {"commit_seconds", one.commit_seconds}};
    if (begun.request > 0) details["request"] = begun.request;
    run_.event("checkpoint", "saved " + one.name + " (" + begun.why + ")", details);
    for (const std::string& warning : one.warnings)
      run_.event("warning", one.name + ": " + warning);
    saving_.erase(one.step);
  }
}

}  // namespace weft::runtime

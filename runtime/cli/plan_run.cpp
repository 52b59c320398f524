#include "runtime/cli/plan_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/cli/plan_report.h"
#include "runtime/store/run_store.h"

namespace weft::cli {

using nlohmann::json;

namespace {

// A prediction further off than this was made for another machine, or the machine is busy.
constexpr double kFarApart = 1.25;

double number_of(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_number() ? at->get<double>() : 0.0;
}
std::string text_of(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

}  // namespace

Expected<SoFar> read_so_far(const std::filesystem::path& run) {
  WEFT_TRY_ASSIGN(const json state, runtime::read_state(run));
  SoFar out;
  out.state = text_of(state, "state");
  const auto synthetic = state.find("synthetic");
  out.synthetic = synthetic != state.end() && *synthetic == true;
  const auto newest = state.find("last_metrics");
  if (newest == state.end() || !newest->is_object()) return out;
  out.stage = text_of(*newest, "stage");
  out.step_seconds = std::max(0.0, number_of(*newest, "step_seconds"));
  const double step = number_of(*newest, "stage_step");
  out.stage_step = step > 0 && step < 1e15 ? static_cast<long long>(step) : 0;
  return out;
}

long long steps_done(const SoFar& run, const runtime::Job& job, const std::string& stage,
                     long long steps_of_stage) {
  const auto at = std::ranges::find(job.recipe, run.stage);
  const auto planned = std::ranges::find(job.recipe, stage);
  if (at == job.recipe.end() || at < planned) return 0;
  return at > planned ? steps_of_stage : std::min(run.stage_step, steps_of_stage);
}

std::string so_far_text(const SoFar& run, double predicted) {
  const std::string mark = run.synthetic ? " [synthetic]" : "";
  if (run.stage.empty()) return run.state + mark + ", no step yet";
  std::string out = fmt::format("{}{}, step {} of {}", run.state, mark, run.stage_step, run.stage);
  if (run.step_seconds <= 0) return out;
  out += fmt::format(", which took {}", short_time(run.step_seconds));
  if (predicted <= 0) return out;
  out += fmt::format(" ({} predicted)", short_time(predicted));
  const double ratio = std::max(run.step_seconds / predicted, predicted / run.step_seconds);
  if (ratio > kFarApart && !run.synthetic)
    out += "; weft plan --calibrate makes a cluster file by what the run takes";
  return out;
}

json so_far_json(const SoFar& run, double done) {
  return {{"state", run.state},           {"stage", run.stage},
          {"stage_step", run.stage_step}, {"step_seconds", run.step_seconds},
          {"synthetic", run.synthetic},   {"planned_steps_done", done}};
}

}  // namespace weft::cli

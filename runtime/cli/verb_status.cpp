#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>
#include <sstream>

#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "runtime/store/run_store.h"
#include "runtime/watch/diagnose.h"

namespace weft::cli {
namespace {

using nlohmann::json;

/// Of a rehearsal: nothing was learned.
bool is_synthetic(const json& run) { return run.value("synthetic", false); }

/// Never colour alone: a glyph and a word.
std::string state_text(const json& run) {
  std::string state = cell(run, "state");
  // It runs, but no worker does.
  const std::string phase = cell(run, "phase");
  if (state == "running" && (phase == "paused" || phase == "waiting")) state = phase;
  const char* glyph = state == "running"    ? "● "
                      : state == phase      ? "‖ "
                      : state == "finished" ? "✔ "
                      : state == "stopped"  ? "◌ "
                                            : "✖ ";
  return glyph + state + (is_synthetic(run) ? " [synthetic]" : "");
}

std::string step_text(const json& run) {
  const std::string step = cell(run, "step"), planned = cell(run, "steps_planned");
  return planned == "-" ? step : step + " / " + planned;
}

std::string last(const json& run, const char* key) {
  const auto metrics = run.find("last_metrics");
  return metrics == run.end() ? "-" : cell(*metrics, key);
}

std::vector<std::pair<std::string, std::string>> lines(const json& run, const Io& io) {
  const std::string reason = cell(run, "reason");
  std::vector<std::pair<std::string, std::string>> out = {
      {"run", cell(run, "name")},
      {"state", state_text(run) + (reason.empty() || reason == "-" ? "" : "  (" + reason + ")")},
      {"step", step_text(run)},
      {"stage", cell(run, "stage")},
      {"updated", ago(run, "updated", io.clock)},
      {"started", ago(run, "started", io.clock)},
      {"attempt", cell(run, "attempt")},
      {"directory", cell(run, "directory")}};
  if (const std::string phase = cell(run, "phase"); phase == "paused" || phase == "waiting")
    out.emplace_back("phase", phase == "paused" ? "paused (weft continue)" : "waiting for nodes");
  for (const char* key : {"generation", "restarts", "last_failure", "drift"})
    if (run.contains(key)) out.emplace_back(key, cell(run, key));
  if (const auto waiting = run.find("waiting"); waiting != run.end()) {
    std::istringstream text(cell(*waiting, "text"));
    for (std::string line, label = "waiting"; std::getline(text, line); label.clear())
      out.emplace_back(label, line);
  }
  if (const auto metrics = run.find("last_metrics"); metrics != run.end() && metrics->is_object())
    for (const auto& [key, value] : metrics->items())
      if (value.is_number() && key != "step") out.emplace_back(key, cell(*metrics, key.c_str()));
  return out;
}

/// Waits of a step's own length are its business.
constexpr double kWorthSaying = 1;  // seconds

/// Who waits for whom, while the run lives or as its last attempt left it.
void add_waiting(json& run, bool always, const Io& io) {
  const std::string state = cell(run, "state");
  if (!always && (state == "finished" || state == "stopped")) return;
  const runtime::RunPaths paths{cell(run, "directory")};
  const auto diagnosis = runtime::diagnose_run(paths.traces(), io.clock);
  if (!diagnosis && !always) return;
  if (!diagnosis) {
    run["waiting"] = {{"text", diagnosis.error().message}};
    return;
  }
  double longest = 0;
  for (const dualpipe::Wait& wait : diagnosis->found.chain)
    longest = std::max(
        longest,
        static_cast<double>(diagnosis->standings[static_cast<std::size_t>(wait.from)].age_ns) *
            1e-9);
  if (!always && !diagnosis->over && longest < kWorthSaying) return;
  run["waiting"] = to_json(*diagnosis);
}

void print_next(const json& run, Io& io) {
  const std::string state = cell(run, "state"), directory = cell(run, "directory");
  if (state == "running")
    io.err << "Follow it with: weft logs " << directory << " -f\n";
  else if (state == "finished" && !runtime::sample_steps({directory}).empty())
    io.err << "See what it says: weft samples " << directory << "\n";
  else if (state == "finished")
    io.err << "See how it went: weft events " << directory << "\n";
  else if (is_synthetic(run))
    io.err << "Why: weft events " << directory << "; a rehearsal cannot be resumed\n";
  else
    io.err << "Why: weft events " << directory << "; go on with: weft resume " << directory << "\n";
}

}  // namespace

int verb_status(const StatusOptions& options, Io& io) {
  const auto root = find_run(options.run);
  if (!root) return report(root.error(), io);
  auto state = runtime::read_state(*root);
  if (!state) return report(state.error(), io);
  add_waiting(*state, options.waits, io);
  print_object(io, options.format, "status", *state, "name", lines(*state, io));
  if (!options.expect.empty() && cell(*state, "state") != options.expect) {
    io.err << "weft: the run is " << cell(*state, "state") << ", not " << options.expect << "\n";
    return kNotSo;
  }
  if (options.format == Format::Table) print_next(*state, io);
  return kOk;
}

int verb_ls(const LsOptions& options, Io& io) {
  auto runs = runtime::list_runs(options.parent);
  if (!runs && runs.error().code == Code::NotFound && options.parent == "runs")
    runs = std::vector<json>{};
  if (!runs) return report(runs.error(), io);
  const std::vector<Column> columns = {
      {"NAME", [](const json& run) { return cell(run, "name"); }},
      {"STATE", state_text},
      {"STAGE", [](const json& run) { return cell(run, "stage"); }},
      {"STEP", step_text, true},
      {"LOSS", [](const json& run) { return last(run, "loss"); }, true},
      {"REWARD", [](const json& run) { return last(run, "reward"); }, true},
      {"UPDATED", [&](const json& run) { return ago(run, "updated", io.clock); }},
      {"DIRECTORY", [](const json& run) { return cell(run, "directory"); }}};
  print_list(io, options.format, "ls", *runs, columns, "name");
  if (options.format == Format::Table)
    io.err << (runs->empty()
                   ? "No runs yet. Start one: weft run deploy/jobs/r1-zero-arithmetic.yaml\n"
                   : "One of them: weft status NAME\n");
  return kOk;
}

}  // namespace weft::cli

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "base/text.h"
#include "base/units.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "runtime/job/load.h"
#include "runtime/job/serial.h"
#include "runtime/worker/virtual_run.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using namespace runtime;

json diagnostic_json(const Diagnostic& d) {
  return {{"severity", d.severity == Severity::Error ? "error" : "warning"},
          {"file", d.file},
          {"line", d.at.line},
          {"column", d.at.column},
          {"length", d.at.length},
          {"message", d.message},
          {"hint", d.hint},
          {"field", d.field}};
}

json summary(const Loaded& loaded, const std::string& path) {
  json diagnostics = json::array();
  for (const Diagnostic& d : loaded.diagnostics) diagnostics.push_back(diagnostic_json(d));
  json out = {{"job", path}, {"ok", loaded.ok()}, {"diagnostics", diagnostics}};
  if (!loaded.ok()) return out;
  const ParallelJob& p = loaded.job.parallel;
  out["name"] = loaded.job.name;
  out["recipe"] = loaded.job.recipe;
  out["workers"] = p.pipeline * p.data;
  out["fingerprint"] = fingerprint(loaded.job);
  out["resolved"] = to_json(loaded.job);
  for (const auto& [field, origin] : loaded.origins) out["origins"][field] = to_string(origin);
  return out;
}

std::string format_number(double value) { return fmt::format("{:g}", value); }

/// What a step on virtual devices has to take.
std::string predicted_text(const Job& job) {
  const VirtualOptions options = virtual_options(job);
  const auto plan = plan_virtual(options.layout, options.times, options.overlap);
  if (!plan) return plan.error().message;
  const dualpipe::Timeline& timeline = plan->timeline;
  return fmt::format("makespan {:.4f} s, bubble {:.4f} s on rank 0", timeline.makespan / 1e9,
                     timeline.bubble.front() / 1e9);
}

std::pair<std::string, std::string> workers_line(const ParallelJob& p) {
  return {"workers", fmt::format("{} (pipeline {} x data {}, experts over {})", p.pipeline * p.data,
                                 p.pipeline, p.data, p.expert)};
}

std::pair<std::string, std::string> schedule_line(const ParallelJob& p) {
  return {"schedule", fmt::format("{}, {} micro-batches", p.schedule, p.micro_batches)};
}

std::vector<std::pair<std::string, std::string>> lines(const Loaded& loaded) {
  const Job& job = loaded.job;
  const ParallelJob& p = job.parallel;
  const VirtualJob& v = job.virtual_device;
  if (job.device == "virtual")
    return {{"name", job.name},
            {"device", "virtual: forward " + format_number(v.forward_ms) + " ms, backward " +
                           format_number(v.backward_input_ms) + " + " + format_number(v.weight_ms) +
                           " ms, exchange " + format_number(v.exchange_ms) +
                           " ms a stage and pass; recipe, model and "
                           "data are not used"},
            workers_line(p),
            schedule_line(p),
            {"steps", std::to_string(v.steps)},
            {"predicted", loaded.ok() ? predicted_text(job) : "-"},
            {"fingerprint", fingerprint(job)}};
  const std::string data = job.data.task == "text" ? "text of " + job.data.path
                           : job.data.task == "files"
                               ? "files " + join(job.data.train, ", ") +
                                     (job.data.sft.empty() ? "" : "; ") + join(job.data.sft, ", ")
                               : job.data.task;
  return {{"name", job.name},
          {"recipe", join(job.recipe, " > ") + " on " + data},
          workers_line(p),
          schedule_line(p),
          {"model", std::to_string(job.model.num_hidden_layers) + " layers of width " +
                        std::to_string(job.model.hidden_size) + ", " +
                        std::to_string(job.model.n_routed_experts) + " experts, " +
                        std::to_string(job.model.num_experts_per_tok) + " a token"},
          {"fingerprint", fingerprint(job)}};
}

}  // namespace

int verb_check(const CheckOptions& options, Io& io) {
  const Loaded loaded = load_job(options.job, {.overrides = {io.environment, options.set}});
  io.err << print(loaded.diagnostics, {.color = io.color_err});
  if (options.format != Format::Table || loaded.ok()) {
    if (options.resolved && options.format == Format::Table)
      io.out << to_yaml(loaded.job, loaded.origins);
    else
      print_object(io, options.format, "check", summary(loaded, options.job), "name",
                   lines(loaded));
  }
  if (!loaded.ok()) return kConfiguration;
  io.err << "Run it with: weft run " << options.job << "\n";
  return kOk;
}

}  // namespace weft::cli

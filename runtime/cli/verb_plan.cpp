#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "base/files.h"
#include "base/text.h"
#include "runtime/cli/plan_published.h"
#include "runtime/cli/plan_report.h"
#include "runtime/cli/plan_run.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "runtime/cluster/cluster_file.h"
#include "runtime/drift/drift_watch.h"
#include "runtime/job/load.h"
#include "runtime/job/serial.h"
#include "runtime/plan/work_of_job.h"
#include "runtime/store/run_store.h"
#include "scheduler/plan/legal.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using namespace runtime;
using namespace scheduler;

constexpr std::size_t kPlanBytesMax = 16 << 20;

struct Read {
  Job job;
  Cluster cluster;
  std::optional<SoFar> so_far;  // of a run
};

/// A file that cannot be used has been talked about on err already.
struct Refused {};

bool is_json(const std::string& path) { return path.ends_with(".json"); }
bool is_job(const std::string& path) { return path.ends_with(".yaml") || path.ends_with(".yml"); }

Expected<json> read_json(const std::string& path) {
  WEFT_TRY_ASSIGN(const std::string text, read_file(path, kPlanBytesMax));
  json parsed = json::parse(text, nullptr, false);
  if (!parsed.is_object() || !parsed.contains("job") || !parsed.contains("cluster_yaml") ||
      !parsed["cluster_yaml"].is_string())
    return fail(Code::Corrupt, path +
                                   " is no plan: make one with weft plan JOB --cluster FILE "
                                   "-o json");
  return parsed;
}

/// The exit code on the way out of a refusal.
Expected<Read> from_plan(const std::string& path, int& exit, Io& io) {
  WEFT_TRY_ASSIGN(const json plan, read_json(path));
  Read read;
  auto job = from_json(plan["job"]);
  if (!job) return fail_in(path, job.error());
  read.job = *std::move(job);
  auto cluster = load_cluster_text(plan["cluster_yaml"].get<std::string>(), path);
  if (!cluster.ok()) {
    io.err << print(cluster.diagnostics, {.color = io.color_err, .consequence = ""});
    exit = kBadData;
    return fail(Code::Corrupt, path + ": its cluster cannot be used");
  }
  read.cluster = std::move(cluster.cluster);
  return read;
}

Expected<Job> read_job(const PlanVerbOptions& options, std::optional<SoFar>& so_far, int& exit,
                       Io& io) {
  std::string path = options.target;
  LoadOptions load{.overrides = {io.environment, options.set}, .check_files = false, .here = false};
  if (!is_job(path)) {
    WEFT_TRY_ASSIGN(const auto run, find_run(path));
    WEFT_TRY_ASSIGN(so_far, read_so_far(run));
    path = RunPaths{run}.resolved().string();
  }
  const Loaded loaded = load_job(path, load);
  io.err << print(loaded.diagnostics,
                  {.color = io.color_err, .consequence = "nothing was planned"});
  if (loaded.ok()) return loaded.job;
  exit = kConfiguration;
  return fail(Code::InvalidArgument, path + " cannot be planned");
}

Expected<Read> read_inputs(const PlanVerbOptions& options, int& exit, Io& io) {
  Read read;
  if (is_json(options.target)) {
    WEFT_TRY_ASSIGN(read, from_plan(options.target, exit, io));
  } else {
    WEFT_TRY_ASSIGN(read.job, read_job(options, read.so_far, exit, io));
  }
  // A plan has its cluster, and this machine may have one.
  const std::string file = !options.cluster.empty()  ? options.cluster
                           : is_json(options.target) ? ""
                                                     : known_cluster().string();
  if (!file.empty()) {
    if (options.cluster.empty()) io.err << "on " << file << "\n";
    const LoadedCluster cluster = load_cluster(file);
    io.err << print(cluster.diagnostics,
                    {.color = io.color_err, .consequence = "nothing was planned"});
    if (!cluster.ok()) {
      exit = kConfiguration;
      return fail(Code::InvalidArgument, file + " cannot be used");
    }
    read.cluster = cluster.cluster;
  } else if (!is_json(options.target)) {
    exit = kUsage;
    return fail(Code::InvalidArgument,
                "on which cluster? --cluster FILE; deploy/clusters has some, weft cluster probe "
                "makes one of this machine");
  }
  return read;
}

std::string cache_text(const RankBytes& bytes, const Work& work) {
  return fmt::format("{:.3g} MB on a rank while it rolls out {:.0f} sequences at once, {}",
                     bytes.kv_cache / 1e6, work.rollout_sequences,
                     bytes.pool ? "where activations lay" : "counted in the memory");
}

/// Which stage of a recipe with several the figures are of; "" where there is only one.
std::string stage_planned(const Job& job) {
  if (job.recipe.size() < 2) return {};
  return stage_of_work(job) + " alone, of the recipe " + join(job.recipe, ", ");
}

/// Only what a run has not done yet is to be paid for.
Expected<void> leave_out(const SoFar& run, const Job& job, Inputs& inputs) {
  const long long done = steps_done(run, job, stage_of_work(job), steps_of_work(job));
  WEFT_TRY_ASSIGN(inputs.steps_done, full_steps(job, done));
  inputs.work.steps = std::max(0.0, inputs.work.steps - inputs.steps_done);
  return {};
}

/// The line of a run, as it was planned before anything was changed.
std::string so_far_line(const SoFar& run, const Job& job, const Inputs& base) {
  const auto plan = predict(base.work, base.cluster, base.assumptions);
  const bool same = run.stage == stage_of_work(job);
  std::string text = so_far_text(run, same && plan && plan->timed ? plan->step.total : 0);
  if (base.work.steps <= 0 && base.steps_done > 0) text += "; " + stage_of_work(job) + " is done";
  return text;
}

/// The largest of them decides in which unit all are told.
Column memory_column(const SearchResult& result) {
  double most = 0;
  for (const Candidate& c : result.best) most = std::max(most, c.peak_bytes);
  const bool large = most >= 1e9;
  return {large ? "GB" : "MB",
          [large](const json& r) {
            return fmt::format("{:.1f}", r["peak_bytes"].get<double>() / (large ? 1e9 : 1e6));
          },
          true};
}

std::string note_of(const json& row) {
  std::string note = row.value("job", false) ? "the job's" : "";
  if (row.contains("dominated_by"))
    note += fmt::format("{}#{} is no slower and no larger", note.empty() ? "" : "; ",
                        row["dominated_by"].get<int>() + 1);
  return note;
}

/// Layout, micro-batch, recomputation and precision are the same.
bool same_choice(const Work& a, const Work& b) {
  return a.layout == b.layout && a.micro_batch_sequences == b.micro_batch_sequences &&
         a.recompute == b.recompute && a.precision == b.precision;
}

/// Where the job's own layout stands, when it is not among the best.
std::string own_layout(const Inputs& inputs) {
  const auto plan = predict(inputs.work, inputs.cluster, inputs.assumptions);
  if (!plan || !plan->timed) return {};
  return fmt::format("the job's own layout ({}) {}\n", layout_text(inputs.work),
                     plan->fits ? "takes " + short_time(plan->step.total) + " a step"
                                : "does not fit: " + plan->problems.front());
}

int print_search(const Inputs& inputs, Io& io, Format format) {
  const auto result = search(inputs.work, inputs.cluster, inputs.assumptions);
  if (!result) return report(result.error(), io);
  std::vector<json> rows;
  bool own = false;
  for (const Candidate& candidate : result->best) {
    json& row = rows.emplace_back(candidate_json(candidate));
    row["rank"] = rows.size();
    row["job"] = same_choice(candidate.work, inputs.work);
    own |= row["job"].get<bool>();
  }
  const auto share = [](const char* key) {
    return [key](const json& row) { return fmt::format("{:.1f}", 100 * row[key].get<double>()); };
  };
  print_list(
      io, format, "plan.search", rows,
      {{"#", [](const json& r) { return cell(r, "rank"); }, true},
       {"SCHEDULE", [](const json& r) { return cell(r, "schedule"); }},
       {"P", [](const json& r) { return cell(r, "pipeline"); }, true},
       {"D", [](const json& r) { return cell(r, "data"); }, true},
       {"E", [](const json& r) { return cell(r, "expert"); }, true},
       {"CHUNKS", [](const json& r) { return cell(r, "micro_batches"); }, true},
       {"SEQ", [](const json& r) { return cell(r, "micro_batch_sequences"); }, true},
       {"RECOMPUTE", [](const json& r) { return cell(r, "recompute"); }},
       {"PRECISION", [](const json& r) { return cell(r, "precision"); }},
       {"STEP", [](const json& r) { return short_time(r["step_seconds"].get<double>()); }, true},
       memory_column(*result),
       {"BUBBLE %", share("bubble_share"), true},
       {"EXPOSED %", share("exposed_share"), true},
       {"NOTE", note_of}},
      "rank");
  io.err << fmt::format("{} layouts considered, {} do not fit\n", result->considered,
                        result->too_large);
  for (const std::string& note : result->notes) io.err << "  " << note << "\n";
  if (!own) io.err << "  " << own_layout(inputs);
  return kOk;
}

/// A layout that no model or schedule allows: all that is wrong, and what would be right.
int refuse(const std::vector<std::string>& wrong, const std::vector<Proposal>& changes, Io& io) {
  for (const std::string& problem : wrong) report(Error{Code::InvalidArgument, problem}, io);
  for (const Proposal& change : changes)
    io.err << "  hint: would fit " << proposal_text(change) << "\n";
  return kConfiguration;
}

}  // namespace

int verb_plan(const PlanVerbOptions& options, Io& io) {
  if (options.calibrate) return verb_drift({options.target, options.cluster, "-"}, io);
  int exit = 0;
  const auto read = read_inputs(options, exit, io);
  if (!read) {
    const int code = report(read.error(), io);
    return exit != 0 ? exit : code;
  }
  Inputs inputs;
  inputs.cluster = read->cluster;
  auto work = work_of(read->job);
  if (!work) return report(work.error(), io);
  inputs.work = *std::move(work);
  if (read->so_far)
    if (const auto left = leave_out(*read->so_far, read->job, inputs); !left)
      return report(left.error(), io);
  const Inputs base = inputs;
  if (!options.what_if.empty()) {
    const auto follows = apply_what_if(options.what_if, inputs);
    if (!follows) return report(follows.error(), io);
    for (const std::string& text : *follows) io.err << "what if: " << text << "\n";
  }
  if (const auto wrong = layout_problems(inputs.work); !wrong.empty())
    return refuse(wrong, proposals(inputs, base, options.what_if), io);
  if (options.search) return print_search(inputs, io, options.format);
  auto plan = predict(inputs.work, inputs.cluster, inputs.assumptions);
  if (plan && inputs.checkpoint_seconds > 0) {
    inputs.work.checkpoint_every = std::max(1.0, inputs.checkpoint_seconds / plan->step.total);
    plan = predict(inputs.work, inputs.cluster, inputs.assumptions);
  }
  if (!plan) return report(plan.error(), io);
  std::vector<Alternative> why;
  if (plan->timed) why = alternatives(*plan, inputs.cluster, inputs.assumptions);
  std::vector<Proposal> changes;
  if (!plan->fits) changes = proposals(inputs, base, options.what_if);
  json object = plan_json(*plan, inputs, why, changes);
  object["name"] = read->job.name;
  object["job"] = to_json(read->job);
  object["cluster_yaml"] = cluster_yaml(read->cluster);
  if (!options.what_if.empty()) object["what_if"] = options.what_if;
  Lines lines = plan_lines(*plan, inputs, why, changes, io.clock.wall_now());
  const RankBytes& cached = *std::ranges::max_element(plan->memory, {}, &RankBytes::kv_cache);
  if (cached.kv_cache > 0) {
    object["kv_cache_bytes"] = cached.kv_cache;
    lines.insert(std::ranges::find(lines, "step", &Lines::value_type::first),
                 {"KV cache", cache_text(cached, inputs.work)});
  }
  if (const std::string covers = stage_planned(read->job); !covers.empty()) {
    object["covers"] = covers;
    lines.insert(std::ranges::find(lines, "step", &Lines::value_type::first), {"covers", covers});
  }
  if (read->so_far) {
    object["so_far"] = so_far_json(*read->so_far, base.steps_done);
    lines.insert(lines.begin(), {"so far", so_far_line(*read->so_far, read->job, base)});
  }
  const Lines published = published_lines(*plan, inputs.cluster);
  lines.insert(std::ranges::find(lines, "rests on", &Lines::value_type::first), published.begin(),
               published.end());
  lines.insert(lines.begin(), {"plan", read->job.name + " on " + inputs.cluster.name});
  print_object(io, options.format, "plan", object, "name", lines);
  return plan->fits && plan->deadlock_free ? kOk : kNotSo;
}

}  // namespace weft::cli

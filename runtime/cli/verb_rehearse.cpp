#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/files.h"
#include "base/units.h"
#include "runtime/agent/signals.h"
#include "runtime/cli/plan_report.h"
#include "runtime/cli/progress.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "runtime/cluster/cluster_file.h"
#include "runtime/job/course.h"
#include "runtime/job/load.h"
#include "runtime/job/serial.h"
#include "runtime/rehearse/rehearsal.h"
#include "runtime/rehearse/step_costs.h"
#include "runtime/sim/event_queue.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using namespace runtime;
namespace fs = std::filesystem;

// Simulated runs begin here unless they are to be watched: the same seed, the same directory.
constexpr auto kEpoch = WallTime(std::chrono::seconds(1767225600));  // 2026-01-01T00:00:00Z

struct Prepared {
  Loaded loaded;
  std::string job_text;
  scheduler::Cluster cluster;
  RehearsalOptions options;
};

/// The exit code when something is wrong, after everything was said.
int prepare(const RehearseOptions& options, Io& io, Prepared& out) {
  out.loaded =
      load_job(options.job,
               {.overrides = {io.environment, options.set}, .check_files = false, .here = false});
  io.err << print(out.loaded.diagnostics, {.color = io.color_err});
  LoadedCluster cluster = load_cluster(options.cluster);
  io.err << print(cluster.diagnostics, {.color = io.color_err});
  if (!out.loaded.ok() || !cluster.ok()) return kConfiguration;
  out.cluster = std::move(cluster.cluster);
  const auto text = read_file(options.job, 1 << 22);
  if (!text) return report(text.error(), io);
  out.job_text = *text;

  out.options.seed = options.seed;
  out.options.steps = options.steps;
  out.options.horizon = options.days * 86400;
  out.options.spares = options.spares;
  out.options.speed = options.speed;
  out.options.swap_stragglers = options.swap_stragglers;
  const FaultGrid grid = fault_grid(out.loaded.job, out.cluster, out.options);
  if (options.faults == "none") return kOk;
  if (options.faults == "mtbf") {
    scheduler::Cluster used = out.cluster;
    used.nodes.value = grid.nodes;
    out.options.faults = draw_faults(rates_of(used), grid, options.seed);
    return kOk;
  }
  const auto script = read_file(options.faults, 1 << 20);
  if (!script)
    return report(
        {script.error().code, "--faults takes mtbf, none or a script; " + script.error().message},
        io);
  FaultScript parsed = parse_fault_script(*script, options.faults, grid);
  io.err << print(parsed.diagnostics, {.color = io.color_err});
  if (!parsed.ok()) return kConfiguration;
  out.options.faults = std::move(parsed.faults);
  return kOk;
}

Expected<void> begin(RunStore& store, const Prepared& what, long long planned) {
  const Job& job = what.loaded.job;
  const RehearsalAssumptions assumed = assumptions_for(job, what.cluster);
  WEFT_TRY(write_file_atomically(store.paths().job(), what.job_text));
  WEFT_TRY(write_file_atomically(store.paths().resolved(), to_yaml(job, what.loaded.origins)));
  return store.describe({{"name", job.name},
                         {"synthetic", true},
                         {"stages", job.recipe},
                         {"steps_planned", planned},
                         {"workers", job.parallel.pipeline * job.parallel.data},
                         {"pid", 0},
                         {"rehearsal",
                          {{"cluster", what.cluster.name},
                           {"seed", what.options.seed},
                           {"spares", what.options.spares},
                           {"assumed",
                            {{"start_seconds", assumed.start_seconds},
                             {"load_seconds", assumed.load_seconds},
                             {"write_seconds", assumed.write_seconds},
                             {"stall_seconds", assumed.stall_seconds},
                             {"straggler_seconds", assumed.straggler_seconds}}}}}});
}

std::string counted(long long number, const char* what) {
  return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
}

void print_result(const RehearsalResult& result, const fs::path& directory, Duration took, Io& io) {
  io.err << fmt::format(
      "weft: rehearsed {} in {}: {}, {}, {}, {}, {} done again (synthetic: nothing was trained)\n"
      "  {}\n",
      format_duration(from_seconds(result.simulated_seconds)), format_duration(took),
      counted(result.steps, "step"), counted(result.generations, "generation"),
      counted(result.terms, "term"), counted(result.faults, "fault"),
      counted(result.lost_steps, "step"), result.reason);
  io.err << fmt::format("  goodput {:.2f} %\n", 100 * result.goodput.share())
         << result.goodput.text();
  io.err << "  Look at it: weft status " << directory.string() << "; weft events "
         << directory.string() << "; weft ckpt verify " << directory.string() << "\n";
}

/// What the writer's process leaves behind must not differ between two rehearsals.
void forget_process(const RunPaths& paths) {
  std::error_code ignored;
  fs::resize_file(paths.lock(), 0, ignored);
}

}  // namespace

int verb_rehearse(const RehearseOptions& options, Io& io) {
  Prepared what;
  if (const int code = prepare(options, io, what); code != kOk) return code;
  const Job& job = what.loaded.job;
  const auto costs = step_costs(job, what.cluster);
  if (!costs) return report(costs.error(), io);
  auto times =
      StepModel::create({*dualpipe::parse_kind(job.parallel.schedule), job.parallel.pipeline,
                         job.parallel.data, job.parallel.expert, job.parallel.micro_batches},
                        *costs);
  if (!times) return report(times.error(), io);

  const fs::path directory =
      options.dir.empty() ? fs::path("runs") / (job.name + "-rehearsal") : fs::path(options.dir);
  if (std::error_code error; fs::exists(RunPaths{directory}.run(), error))
    return report({Code::InvalidArgument, directory.string() +
                                              " holds a run already; a rehearsal begins anew: "
                                              "choose another --dir or remove it"},
                  io);
  sim::SimulatedClock clock(options.speed > 0 ? io.clock.wall_now() : kEpoch);
  RehearsalResult result;
  const Instant started = io.clock.now();
  {
    auto store = RunStore::open(directory, clock);
    if (!store) return report(store.error(), io);
    const long long planned = options.steps > 0 ? options.steps : recipe_steps(job);
    if (const auto begun = begin(**store, what, planned); !begun) return report(begun.error(), io);
    Progress progress(io, options.quiet);
    RehearsalObserver observer;
    observer.step = [&](const json& record) {
      progress.show(fmt::format("[synthetic] step {}/{}  loss {:.4f}  {} a step",
                                record.value("step", 0LL), planned, record.value("loss", 0.0),
                                short_time(record.value("step_seconds", 0.0))));
    };
    observer.event = [&](const std::string& kind, const std::string& message) {
      if (kind == "fault" || kind == "resumed" || kind == "skipped_checkpoint" ||
          kind == "coordinator")
        progress.note("[" + format_time(clock.wall_now()) + "] " + message);
    };
    // Asked to stop it ends as a run does: the step is finished and saved, and said in run.json.
    const SignalDescriptor signals;
    observer.stop = [&, events = 0]() mutable {
      return (options.speed > 0 || ++events % 512 == 0) && signals.take().stops > 0;
    };
    auto done =
        rehearse(job, what.cluster, what.options, std::move(*times), **store, clock, observer);
    if (!done) {
      (void)(*store)->set_state(RunState::Failed, done.error().message);
      return report(done.error(), io);
    }
    result = std::move(*done);
    json facts = {{"goodput", result.goodput.to_json()}};
    if (const auto told = (*store)->describe(facts); !told) return report(told.error(), io);
    if (const auto told = (*store)->set_state(result.state, "[synthetic] " + result.reason); !told)
      return report(told.error(), io);
    json details = result.goodput.to_json();
    details["synthetic"] = true;
    (void)(*store)->append_event(to_string(result.state), "[synthetic] " + result.reason, details);
  }
  forget_process({directory});
  if (options.format != Format::Table) {
    json out = result.goodput.to_json();
    out["synthetic"] = true;
    out["directory"] = directory.string();
    out["state"] = to_string(result.state);
    out["steps"] = result.steps;
    out["generations"] = result.generations;
    out["terms"] = result.terms;
    out["faults"] = result.faults;
    out["lost_steps"] = result.lost_steps;
    print_object(io, options.format, "rehearse", out, "directory", {});
  } else {
    print_result(result, directory, io.clock.now() - started, io);
  }
  return result.state == RunState::Failed ? kNotSo : kOk;
}

}  // namespace weft::cli

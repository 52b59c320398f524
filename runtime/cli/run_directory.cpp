#include "runtime/cli/run_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/files.h"
#include "base/text.h"
#include "base/units.h"
#include "runtime/cli/progress.h"
#include "runtime/coordinator_shell/begin_run.h"
#include "runtime/job/course.h"
#include "runtime/job/serial.h"
#include "runtime/launch/local_run.h"
#include "runtime/store/lease.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using namespace runtime;
namespace fs = std::filesystem;

bool is_virtual(const Job& job) { return job.device == "virtual"; }

long long planned_steps(const Job& job) {
  return is_virtual(job) ? job.virtual_device.steps : recipe_steps(job);
}

bool is_file_empty(const fs::path& path) {
  std::error_code error;
  return fs::file_size(path, error) == 0 && !error;
}

/// A run that has no step and no checkpoint to lose; one that agents may be at work on counts as
/// started.
bool is_unstarted(const RunPaths& paths) {
  std::error_code error;
  if (!fs::exists(paths.run(), error) || !is_file_empty(paths.metrics()) ||
      !fs::is_empty(paths.checkpoints(), error) || error || fs::exists(paths.keys(), error))
    return false;
  fs::directory_iterator spool(paths.spool(), error);
  return error || std::ranges::all_of(spool, [](const auto& e) { return is_file_empty(e.path()); });
}

/// A directory that already holds a run goes on only with a job that leaves the numbers as they
/// are; one whose run never made a step begins anew with any. Result: does it begin anew?
Expected<bool> check_same_job(const RunPaths& paths, const Job& job) {
  std::error_code error;
  if (!fs::exists(paths.run(), error) && fs::exists(paths.job(), error))
    return fail(Code::InvalidArgument, paths.job().string() +
                                           " would be overwritten: " + paths.root.string() +
                                           " is no run directory; choose another one with --dir");
  if (!fs::exists(paths.resolved(), error)) return false;
  WEFT_TRY_ASSIGN(const std::string text, read_file(paths.resolved(), 1 << 22));
  const Loaded before =
      load_job_text(text, paths.resolved().string(), {.overrides = {}, .check_files = false});
  if (!before.ok())
    return fail(Code::Corrupt, paths.resolved().string() +
                                   " cannot be read back; choose another directory with --dir");
  const std::vector<std::string> differences = numeric_differences(before.job, job);
  if (differences.empty()) return false;
  if (is_unstarted(paths)) return true;
  return fail(Code::InvalidArgument,
              paths.root.string() + " holds a run of another job (different: " +
                  join(differences, ", ") + "). Go on with that one, unchanged, by 'weft resume " +
                  paths.root.string() + "', or start this one elsewhere: 'weft run JOB --dir …'");
}

Expected<void> begin(RunStore& store, const Loaded& loaded, const std::string& text) {
  WEFT_TRY(write_file_atomically(store.paths().job(), text));
  WEFT_TRY(write_file_atomically(store.paths().resolved(), to_yaml(loaded.job, loaded.origins)));
  WEFT_TRY(store.describe(
      {{"name", loaded.job.name},
       {"stages", is_virtual(loaded.job) ? std::vector<std::string>{"virtual"} : loaded.job.recipe},
       {"steps_planned", planned_steps(loaded.job)},
       {"workers", loaded.job.parallel.pipeline * loaded.job.parallel.data}}));
  return store.set_state(RunState::Running, "");
}

/// JSON has no NaN: a loss that is none arrives as null.
double number_at(const json& record, const char* key) {
  const auto found = record.find(key);
  return found != record.end() && found->is_number() ? found->get<double>()
                                                     : std::numeric_limits<double>::quiet_NaN();
}

std::string progress_line(const json& record, long long planned) {
  if (record.contains("makespan_seconds"))
    return fmt::format(
        "step {}/{}  virtual  makespan {:.3f} s, predicted {:.3f} s  bubble {:.3f} s",
        record.value("step", 0LL), planned, number_at(record, "makespan_seconds"),
        number_at(record, "predicted_makespan_seconds"), number_at(record, "bubble_seconds"));
  std::string line = fmt::format("step {}/{}  {}  loss {:.4f}", record.value("step", 0LL), planned,
                                 record.value("stage", ""), number_at(record, "loss"));
  if (record.contains("reward"))
    line +=
        fmt::format("  reward {:.3f}  accuracy {:.3f}  length {:.1f}", number_at(record, "reward"),
                    number_at(record, "accuracy"), number_at(record, "completions/mean_length"));
  const double rate = number_at(record, "tokens_per_second");
  return line + fmt::format("  {}{}tok/s", format_count(rate), rate < 1e3 ? " " : "");
}

/// What a person wants to keep on the screen. The rest is in events.jsonl.
bool worth_a_line(const std::string& kind) {
  return kind == "stage" || kind == "evaluation" || kind == "resumed" || kind == "warning" ||
         kind == "nonfinite" || kind == "skipped_checkpoint" || kind == "coordinator" ||
         kind == "worker_failed" || kind == "agent";
}

/// What to look at when it is done.
void print_next(const Job& job, const std::string& run, Io& io) {
  if (is_virtual(job)) {
    io.err << "  Status:    weft status " << run << "\n"
           << "  Picture:   weft schedule --kind " << job.parallel.schedule << " --ranks "
           << job.parallel.pipeline << " --micro-batches " << job.parallel.micro_batches
           << " -o svg > schedule.svg\n";
    return;
  }
  const char* prompt = job.data.task == "text" || job.data.task == "files" ? "The "
                       : job.data.task == "cups"                           ? "A:BC,AB="
                                                                           : "3+8+5=";
  io.err << "  Curve:     weft events " << run << " --kind evaluation\n";
  if (std::ranges::find(job.recipe, "grpo") != job.recipe.end())
    io.err << "  Thoughts:  weft samples " << run << "\n";
  io.err << "  Status:    weft status " << run << "\n"
         << "  Ask it:    weft generate " << run << " --prompt '" << prompt << "'\n";
}

int conclude(const Job& job, const RunResult& result, const RunPaths& paths, Duration took,
             bool quiet, Io& io) {
  const std::string run = paths.root.string();
  if (result.outcome == Outcome::Finished) {
    if (!quiet) {
      io.err << "weft: finished in " << format_duration(took) << ". Results are in " << run
             << "/\n";
      print_next(job, run, io);
    }
    return kOk;
  }
  if (result.outcome == Outcome::Stopped) {
    io.err << "weft: " << result.reason << ". "
           << (is_virtual(job) ? "Begin again with: weft resume " : "Go on with: weft resume ")
           << run << "\n";
    return kInterrupted;
  }
  report(result.error, io);
  if (result.culprit >= 0) {
    const fs::path log = paths.worker_log(result.culprit);
    io.err << "  last lines of " << log.string() << ":\n" << last_log_lines(log, 10);
  }
  io.err << "  Every worker has ended. When the cause is removed: weft resume " << run << "\n";
  return exit_code(result.error.code);
}

}  // namespace

int run_in_directory(const Loaded& loaded, const std::string& job_text, const fs::path& directory,
                     bool quiet, Io& io, bool prepare_only) {
  const Instant started = io.clock.now();
  // Before the directory is touched: a refused job leaves the run there as it is.
  const auto anew = check_same_job({directory}, loaded.job);
  if (!anew) return report(anew.error(), io);
  if (are_led({{directory}}).front())
    return report({Code::Busy, directory.string() +
                                   " is being run by the agents of several nodes (to stop it: "
                                   "weft cancel; to join it: weft agent --run; or choose another "
                                   "directory with --dir)"},
                  io);
  if (const auto readable = can_go_on({directory}, io.clock); !readable)
    return report(readable.error(), io);
  auto opened = RunStore::open(directory, io.clock);
  if (!opened) return report(opened.error(), io);
  RunStore& store = **opened;
  if (*anew && !is_unstarted(store.paths()))
    return report({Code::Busy, directory.string() + " was just used by another 'weft run'"}, io);
  if (*anew) {
    io.err << "weft: " << directory.string()
           << " holds a run that never made a step; it begins anew with this job\n";
    std::error_code ignored;  // what stays is at most a gap in numbers
    for (const fs::path& part :
         {store.paths().spool(), store.paths().terms(), store.paths().generations()})
      fs::remove_all(part, ignored);
  }
  if (const auto written = begin(store, loaded, job_text); !written) {
    (void)store.set_state(RunState::Failed, written.error().message);
    return report(written.error(), io);
  }

  if (const auto ready = prepare_data(loaded.job, directory, quiet, io); !ready) {
    (void)store.set_state(RunState::Failed, ready.error().message);
    return report(ready.error(), io);
  }

  if (prepare_only) {
    if (const auto prepared = prepare_for_agents(loaded.job, std::move(*opened), io.clock);
        !prepared)
      return report(prepared.error(), io);
    io.err << "weft: " << directory.string() << " is ready. On each node: weft agent --run "
           << directory.string() << "\n";
    return kOk;
  }

  RunResult result;
  const RunPaths paths = store.paths();
  long long last_step = 0;
  {
    Progress progress(io, quiet);
    const long long planned = planned_steps(loaded.job);
    RunObserver observer;
    observer.step = [&](const json& record) {
      last_step = record.value("step", last_step);
      progress.show(progress_line(record, planned));
    };
    observer.event = [&](const std::string& kind, const std::string& message) {
      if (worth_a_line(kind))
        progress.note(fmt::format("[{:7.1f} s] {}", seconds(io.clock.now() - started), message));
    };
    result = run_locally(loaded.job, std::move(*opened), observer, io.clock);
  }
  // Stages that reached their target early took fewer steps than they might have.
  if (result.outcome == Outcome::Finished && last_step > 0)
    if (auto done = RunStore::join(directory, io.clock))
      (void)(*done)->describe({{"steps_planned", last_step}});
  return conclude(loaded.job, result, paths, io.clock.now() - started, quiet, io);
}

}  // namespace weft::cli

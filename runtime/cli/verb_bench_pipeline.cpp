#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/files.h"
#include "comm/sim/sim_world.h"
#include "runtime/cli/render.h"
#include "runtime/cli/run_directory.h"
#include "runtime/cli/verbs.h"
#include "runtime/job/load.h"
#include "runtime/job/serial.h"
#include "runtime/store/run_store.h"
#include "runtime/worker/virtual_run.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using namespace runtime;
namespace fs = std::filesystem;

/// The job that the options stand for, through the same validation as any job file.
Loaded job_of(const BenchPipelineOptions& o) {
  const auto set = [](const char* field, const auto& value) {
    return fmt::format("{}={}", field, value);
  };
  // One step more: the first one makes plans and touches memory.
  std::vector<std::string> sets = {set("name", "bench-pipeline"),
                                   set("device", "virtual"),
                                   set("parallel.schedule", o.kind),
                                   set("parallel.pipeline", o.ranks),
                                   set("parallel.micro_batches", o.micro_batches),
                                   set("parallel.data", o.lanes),
                                   set("parallel.expert", o.lanes),
                                   set("parallel.overlap", o.overlap ? "true" : "false"),
                                   set("virtual.steps", o.steps + 1),
                                   set("virtual.forward_ms", o.forward_ms),
                                   set("virtual.backward_input_ms", o.backward_input_ms),
                                   set("virtual.weight_ms", o.weight_ms),
                                   set("virtual.exchange_ms", o.exchange_ms),
                                   set("virtual.layers", o.layers),
                                   set("virtual.message_bytes", o.message_bytes),
                                   set("virtual.dispatch_bytes", o.dispatch_bytes)};
  return load_job_text("", "bench", {.overrides = {{}, std::move(sets)}, .check_files = false});
}

/// A directory that is gone at the end, unless it is to be looked at.
class Scratch {
 public:
  static Expected<Scratch> make() {
    std::error_code none;
    std::string name = (fs::temp_directory_path(none) / "weft-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) return io_error("create", name, errno);
    return Scratch(name);
  }
  explicit Scratch(fs::path path) : path_(std::move(path)) {}
  Scratch(Scratch&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch() {
    std::error_code none;
    if (!path_.empty()) fs::remove_all(path_, none);
  }
  const fs::path& path() const { return path_; }
  void keep() { path_.clear(); }

 private:
  fs::path path_;
};

/// The steps' metrics from a whole run: coordinator, worker processes, shared memory. Sets `code`
/// when the run did not finish; it has then said why.
Expected<std::vector<json>> run_processes(const Loaded& loaded, Io& io, int& code) {
  WEFT_TRY_ASSIGN(Scratch scratch, Scratch::make());
  const fs::path run = scratch.path() / "run";
  code = run_in_directory(loaded, to_yaml(loaded.job, {}), run, true, io);
  if (code == kOk) return read_json_lines(RunPaths{run}.metrics());
  if (code != kInterrupted) scratch.keep();
  return std::vector<json>{};
}

/// The same ranks as threads of this process, on simulated time.
Expected<std::vector<json>> run_simulated(const Job& job) {
  std::vector<json> records;
  std::optional<Error> error;
  const VirtualOptions options = virtual_options(job);
  comm::SimWorld world(options.layout.world());
  world.run([&](const comm::SimWorld::Rank& self) {
    const auto body = [&]() -> Expected<void> {
      WEFT_TRY_ASSIGN(const auto rank, VirtualRank::create(self.transport, self.clock, options));
      for (int step = 1; step <= job.virtual_device.steps; ++step) {
        WEFT_TRY_ASSIGN(const VirtualStep done, rank->step(false));
        if (self.rank == 0)
          records.push_back(virtual_record(step, done, rank->plan(), job.parallel.data));
      }
      return {};
    };
    // Ranks run one at a time.
    if (const auto done = body(); !done && !error) error = done.error();
  });
  if (error) return tl::unexpected(*error);
  return records;
}

/// The step of median makespan speaks for all.
json report_of(const BenchPipelineOptions& o, std::vector<json> records) {
  records.erase(records.begin());
  std::vector<double> makespans;
  for (const json& record : records) makespans.push_back(record["makespan_seconds"]);
  std::ranges::sort(records, {},
                    [](const json& record) { return record["makespan_seconds"].get<double>(); });
  const json& median = records[records.size() / 2];
  json predicted = {{"makespan_seconds", median["predicted_makespan_seconds"]},
                    {"bubble_seconds", median["predicted_bubble_seconds"]},
                    {"bubble_by_rank", median["predicted_bubble_by_rank"]}};
  json measured = {{"makespan_seconds", median["makespan_seconds"]},
                   {"makespan_seconds_best", records.front()["makespan_seconds"]},
                   {"makespan_seconds_worst", records.back()["makespan_seconds"]},
                   {"makespan_seconds_by_step", makespans},
                   {"bubble_seconds", median["bubble_seconds"]},
                   {"bubble_by_rank", median["bubble_by_rank"]},
                   {"busy_by_rank", median["busy_by_rank"]},
                   {"late_seconds", median["late_seconds"]}};
  if (median.contains("hidden")) {
    for (const char* key : {"hidden", "hidden_in_pairs"}) {
      predicted[key] = median[std::string("predicted_") + key];
      measured[key] = median[key];
    }
  }
  const double best = records.front()["ratio"];
  return {{"name", "pipeline"},
          {"kind", o.kind},
          {"ranks", o.ranks},
          {"lanes", o.lanes},
          {"micro_batches", o.micro_batches},
          {"transport", o.transport},
          {"overlap", o.overlap},
          {"steps", records.size()},
          {"predicted", predicted},
          {"measured", measured},
          {"ratio", median["ratio"]},
          {"ratio_best", best}};
}

std::string milliseconds(const json& seconds) {
  return fmt::format("{:.2f}", 1e3 * seconds.get<double>());
}

using Lines = std::vector<std::pair<std::string, std::string>>;

Lines lines_of(const BenchPipelineOptions& o, const json& report) {
  const json &predicted = report["predicted"], &measured = report["measured"];
  const auto row = [](std::string_view a, std::string_view b, std::string_view rest) {
    return fmt::format("{:>12}  {:>12}  {}", a, b, rest);
  };
  const auto both = [&](const char* key) {
    return row(milliseconds(predicted[key]), milliseconds(measured[key]), "");
  };
  Lines lines = {
      {"schedule", fmt::format("{}, {} ranks x {} lanes, {} micro-batches, overlap {}", o.kind,
                               o.ranks, o.lanes, o.micro_batches, o.overlap ? "on" : "off")},
      {"stage",
       fmt::format("F {:g}  BI {:g}  W {:g}  exchange {:g} ms a pass, {} layers", o.forward_ms,
                   o.backward_input_ms, o.weight_ms, o.exchange_ms, o.layers)},
      {"steps", fmt::format("{} over {}, after one that does not count", o.steps, o.transport)},
      {"", row("PREDICTED", "MEASURED", "(median step)")},
      {"makespan, ms",
       row(milliseconds(predicted["makespan_seconds"]), milliseconds(measured["makespan_seconds"]),
           fmt::format("best {}, worst {}", milliseconds(measured["makespan_seconds_best"]),
                       milliseconds(measured["makespan_seconds_worst"])))},
      {"ratio", row("1", fmt::format("{:.4f}", report["ratio"].get<double>()),
                    fmt::format("best {:.4f}", report["ratio_best"].get<double>()))},
      {"bubble, ms (mean)", both("bubble_seconds")}};
  for (std::size_t rank = 0; rank < measured["bubble_by_rank"].size(); ++rank)
    lines.emplace_back("  rank " + std::to_string(rank),
                       row(milliseconds(predicted["bubble_by_rank"][rank]),
                           milliseconds(measured["bubble_by_rank"][rank]), ""));
  if (measured.contains("hidden")) {
    const auto share = [&](const char* name, const char* key) {
      const auto text = [&](const json& of) {
        return fmt::format("{:.2f}", 100 * of[key].get<double>());
      };
      lines.emplace_back(name, row(text(predicted), text(measured), ""));
    };
    share("hidden in pairs, %", "hidden_in_pairs");
    share("hidden in all, %", "hidden");
  }
  lines.emplace_back("woken late, ms",
                     row("0.00", milliseconds(measured["late_seconds"]), "sum over all ranks"));
  return lines;
}

}  // namespace

int verb_bench_pipeline(const BenchPipelineOptions& options, Io& io) {
  const Loaded loaded = job_of(options);
  io.err << print(loaded.diagnostics, {.color = io.color_err});
  if (!loaded.ok()) return kConfiguration;
  const VirtualOptions device = virtual_options(loaded.job);
  const auto plan = plan_virtual(device.layout, device.times, device.overlap);
  if (!plan) return report(plan.error(), io);
  const int steps = loaded.job.virtual_device.steps;
  if (options.transport == "local")
    io.err << fmt::format("weft: {} steps of {:.3f} s on {} workers: about {:.0f} s\n", steps,
                          plan->timeline.makespan / 1e9, device.layout.world(),
                          2 + steps * plan->timeline.makespan / 1e9);
  int code = kOk;
  const auto records =
      options.transport == "local" ? run_processes(loaded, io, code) : run_simulated(loaded.job);
  if (!records) return report(records.error(), io);
  if (code != kOk) return code;
  if (static_cast<int>(records->size()) != steps)
    return report({Code::Corrupt, "the run left metrics of " + std::to_string(records->size()) +
                                      " steps, not " + std::to_string(steps)},
                  io);
  const json result = report_of(options, *records);
  print_object(io, options.format, "bench-pipeline", result, "name", lines_of(options, result));
  return kOk;
}

}  // namespace weft::cli

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/files.h"
#include "base/text.h"
#include "base/units.h"
#include "dualpipe/measured.h"
#include "runtime/cli/gzip.h"
#include "runtime/cli/render.h"
#include "runtime/cli/run_directory.h"
#include "runtime/cli/verbs.h"
#include "runtime/store/ring_file.h"
#include "runtime/store/run_store.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using namespace dualpipe;

Expected<std::vector<MeasuredStep>> steps_of(const runtime::RunPaths& paths, int replica, Io& io) {
  const runtime::RingFiles files = runtime::read_ring_files(paths.traces());
  for (const std::string& reason : files.unreadable)
    io.err << "weft: warning: " << reason << "; that rank is left out\n";
  std::vector<MeasuredStep> steps = measured_steps(files.recordings, replica);
  if (!steps.empty()) return steps;
  if (files.recordings.empty())
    return fail(Code::NotFound, paths.traces().string() +
                                    " holds no recorded steps: the run has not begun, or it has "
                                    "trace.steps: 0");
  const RingInfo& info = files.recordings.front().info;
  const int replicas = info.world / info.ranks;
  if (replica >= replicas)
    return fail(Code::NotFound, fmt::format("there is no replica {}: the run has {}, from 0 on",
                                            replica, replicas));
  return fail(Code::NotFound, paths.traces().string() +
                                  " holds no step yet: nothing is recorded before the first step, "
                                  "nor in evaluations");
}

/// The newest closed step, or the newest of all where none is: a run may hang in its first.
const MeasuredStep& last_of(const std::vector<MeasuredStep>& steps) {
  const auto closed = std::ranges::find_if(steps.rbegin(), steps.rend(), &MeasuredStep::closed);
  return closed != steps.rend() ? *closed : steps.back();
}

const MeasuredStep& slowest_of(const std::vector<MeasuredStep>& steps) {
  const auto key = [](const MeasuredStep& step) { return std::pair(step.closed, step.seconds()); };
  return *std::ranges::max_element(steps, {}, key);
}

std::string range_text(const std::vector<MeasuredStep>& steps) {
  std::vector<std::string> names;
  for (const MeasuredStep& step : steps) names.push_back(std::to_string(step.step));
  if (names.size() > 12) names.erase(names.begin(), names.end() - 12);
  return join(names, ", ");
}

Expected<const MeasuredStep*> chosen(const std::vector<MeasuredStep>& steps,
                                     const std::string& wanted) {
  if (wanted == "last") return &last_of(steps);
  if (wanted == "slowest") return &slowest_of(steps);
  for (const MeasuredStep& step : steps)
    if (std::to_string(step.step) == wanted) return &step;
  return fail(Code::NotFound, "step " + wanted +
                                  " is not recorded; these are: " + range_text(steps) +
                                  " (trace.steps in the job says how many are kept)");
}

/// In the table, and in every slice of a step that the file draws.
void mark_synthetic(MeasuredStep& step) {
  constexpr const char* kMark = " [synthetic]";
  step.stage += kMark;
  for (RankStep& rank : step.ranks) rank.recorded.stage += kMark;
}

bool is_step(const std::string& text) {
  long long step = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), step);
  return text == "last" || text == "slowest" ||
         (error == std::errc() && end == text.data() + text.size() && step >= 0);
}

int list(const std::vector<MeasuredStep>& steps, const std::string& run, Format format, Io& io) {
  std::vector<json> records;
  for (const MeasuredStep& step : steps) {
    const StepSummary summary = summarize(step);
    std::vector<int> ranks;
    for (const RankStep& rank : step.ranks) ranks.push_back(rank.info.rank);
    records.push_back(
        {{"step", step.step},
         {"stage", step.stage},
         {"seconds", step.seconds()},
         {"begun", format_time(WallTime(std::chrono::nanoseconds(step.begin_wall_ns)))},
         {"closed", step.closed},
         {"ranks", ranks},
         {"records", summary.records},
         {"missing", summary.missing},
         {"damaged", summary.damaged}});
  }
  const std::vector<Column> columns = {
      {"STEP", [](const json& r) { return cell(r, "step"); }, true},
      {"STAGE", [](const json& r) { return cell(r, "stage"); }},
      {"SECONDS", [](const json& r) { return fmt::format("{:.4f}", r["seconds"].get<double>()); },
       true},
      {"RANKS", [](const json& r) { return std::to_string(r["ranks"].size()); }, true},
      {"RECORDS", [](const json& r) { return cell(r, "records"); }, true},
      {"MISSING", [](const json& r) { return cell(r, "missing"); }, true},
      {"STATE", [](const json& r) { return r["closed"].get<bool>() ? "whole" : "not whole"; }}};
  print_list(io, format, "trace", records, columns, "step");
  if (format == Format::Table) io.err << "Draw one: weft trace " << run << " --step N\n";
  return kOk;
}

/// Who was still at it, and since when it had stood where.
void print_standing(const MeasuredStep& step, Io& io) {
  for (const RankStep& rank : step.ranks) {
    if (rank.recorded.closed) continue;
    const double into = static_cast<double>(rank.here.since_ns - rank.recorded.begin_ns) * 1e-9;
    io.err << fmt::format("  rank {} (position {}) had not ended it: from {:.3f} s on it {}\n",
                          rank.info.rank, rank.info.position, std::max(0.0, into),
                          describe(rank.here));
  }
}

void print_summary(const MeasuredStep& step, const Prediction* prediction, Io& io) {
  const StepSummary summary = summarize(step);
  const auto ms = [](double us) { return fmt::format("{:.2f} ms", us / 1000); };
  const auto share = [](double part, double whole) {
    return fmt::format("{:5.1f} %", whole > 0 ? 100 * part / whole : 0.0);
  };
  io.err << fmt::format("step {} ({}{}): {}", step.step, step.stage,
                        step.closed ? "" : ", not whole", ms(step.seconds() * 1e6));
  if (summary.pipeline > 0) {
    io.err << "; pipeline " << ms(summary.pipeline) << " measured";
    if (prediction != nullptr)
      io.err << ", " << ms(prediction->times.makespan) << " predicted (" << prediction->basis
             << ")";
    io.err << "; reductions and update " << ms(summary.step_end) << "\n";
    io.err << "  position     busy   bubble" << (prediction ? "  predicted" : "")
           << "   exchange  exposed\n";
    for (std::size_t p = 0; p < summary.positions.size(); ++p) {
      const PositionSummary& one = summary.positions[p];
      io.err << fmt::format("  {:>8}  {}  {}", p, share(one.busy, summary.pipeline),
                            share(one.bubble, summary.pipeline));
      if (prediction != nullptr)
        io.err << "    " << share(prediction->times.bubble[p], prediction->times.makespan);
      io.err << "    " << share(one.exchange, summary.pipeline) << "  "
             << share(one.exposed, summary.pipeline) << "\n";
    }
  } else {
    io.err << "\n";
  }
  print_standing(step, io);
  if (summary.missing + summary.damaged > 0)
    io.err << fmt::format("  {} records were overwritten by newer ones, {} are damaged\n",
                          summary.missing, summary.damaged);
  io.err << fmt::format("  {} records, {}; a rank's ring takes {}\n", summary.records,
                        format_bytes(summary.records * sizeof(Record)),
                        format_bytes(step.ranks.front().ring_bytes));
}

Expected<Prediction> prediction_of(const MeasuredStep& step, const std::string& cost) {
  if (cost.empty()) {
    WEFT_TRY_ASSIGN(const Costs costs, measured_costs(step));
    return predict(step, costs, "this schedule with the step's own mean costs");
  }
  WEFT_TRY_ASSIGN(const Costs costs, parse_costs(cost));
  return predict(step, costs, "this schedule with --cost " + cost);
}

Expected<std::string> written(const MeasuredStep& step, const Prediction* prediction,
                              const TraceOptions& options, Io& io) {
  const std::string text = to_chrome_trace(step, prediction);
  if (options.output == "-") {
    io.out << text;
    return std::string();
  }
  const std::string file =
      options.output.empty() ? "trace-" + std::to_string(step.step) + ".json.gz" : options.output;
  std::string bytes = text;
  if (file.ends_with(".gz")) {
    WEFT_TRY_ASSIGN(bytes, gzip(text));
  }
  WEFT_TRY(write_file_atomically(file, bytes));
  io.err << "  " << file << " (" << format_bytes(bytes.size())
         << "): open it in https://ui.perfetto.dev or chrome://tracing\n";
  return file;
}

int usage(const Error& error, Io& io) {
  report(error, io);
  return kUsage;
}

}  // namespace

int verb_trace(const TraceOptions& options, Io& io) {
  if (!is_step(options.step))
    return usage({Code::InvalidArgument,
                  "--step " + options.step + ": expected a step's number, last or slowest"},
                 io);
  if (const auto costs = parse_costs(options.cost); !options.cost.empty() && !costs)
    return usage(costs.error(), io);
  const auto root = find_run(options.run);
  if (!root) return report(root.error(), io);
  const bool synthetic = is_rehearsal(*root);  // has rings of its first replica only
  const int replica = synthetic ? std::max(0, options.replica) : options.replica;
  auto steps = steps_of(runtime::RunPaths{*root}, replica, io);
  if (!steps) return report(steps.error(), io);
  if (synthetic)
    for (MeasuredStep& step : *steps) mark_synthetic(step);
  if (options.list) return list(*steps, root->string(), options.format, io);
  const auto step = chosen(*steps, options.step);
  if (!step) return report(step.error(), io);
  const auto prediction = prediction_of(**step, options.cost);
  if (!prediction) io.err << "weft: warning: no prediction: " << prediction.error().message << "\n";
  print_summary(**step, prediction ? &*prediction : nullptr, io);
  const auto file = written(**step, prediction ? &*prediction : nullptr, options, io);
  return file ? static_cast<int>(kOk) : report(file.error(), io);
}

}  // namespace weft::cli

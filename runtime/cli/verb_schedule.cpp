#include <fmt/format.h>

#include <algorithm>

#include "base/files.h"
#include "dualpipe/check.h"
#include "dualpipe/executor.h"
#include "dualpipe/svg.h"
#include "dualpipe/text.h"
#include "dualpipe/timeline.h"
#include "dualpipe/trace.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {
namespace {

using namespace dualpipe;

Expected<Schedule> wanted_schedule(const ScheduleOptions& options) {
  if (!options.file.empty()) {
    WEFT_TRY_ASSIGN(const std::string text, read_file(options.file, 64 << 20));
    auto parsed = parse(text);
    if (!parsed) return fail_in(options.file, parsed.error());
    return parsed;
  }
  WEFT_TRY_ASSIGN(const Kind kind, parse_kind(options.kind));
  const Size size{options.ranks, options.micro_batches, options.chunks};
  return options.forward_only ? generate_forward(kind, size) : generate(kind, size);
}

/// As the executor runs it; without a backward there is no step to end.
Schedule lowered(const Schedule& schedule) {
  const auto trains = [](const Action& a) {
    return a.op == Op::B || a.op == Op::BI || a.op == Op::FB;
  };
  const Schedule with_messages = add_messages(schedule);
  const bool any = std::ranges::any_of(
      schedule.programs, [&](const auto& program) { return std::ranges::any_of(program, trains); });
  return any ? add_step_end(with_messages) : with_messages;
}

/// The merged order of one overlapped pair of a dense and a MoE layer, a line a phase.
std::string phases_text() {
  const std::vector<Phase> forward = {{PhaseKind::Attention, 0, Part::Whole},
                                      {PhaseKind::Dispatch, 0, Part::Whole},
                                      {PhaseKind::Experts, 0, Part::Whole},
                                      {PhaseKind::Combine, 0, Part::Whole}};
  const std::vector<Phase> backward = {
      {PhaseKind::Combine, 0, Part::Input},   {PhaseKind::Experts, 0, Part::Input},
      {PhaseKind::Dispatch, 0, Part::Input},  {PhaseKind::Experts, 0, Part::Weights},
      {PhaseKind::Attention, 0, Part::Input}, {PhaseKind::Attention, 0, Part::Weights}};
  std::string text;
  for (const PhaseStep& step : merge_phases(forward, backward))
    text += fmt::format("{:<14}{:<10}{}\n", communicates(step.phase) ? "communicate" : "compute",
                        to_string(step.phase.kind),
                        !step.backward                     ? "F"
                        : step.phase.part == Part::Weights ? "W"
                                                           : "B");
  return text;
}

}  // namespace

int verb_schedule(const ScheduleOptions& options, Io& io) {
  if (options.phases) {
    io.out << phases_text();
    return kOk;
  }
  const auto schedule = wanted_schedule(options);
  if (!schedule) return report(schedule.error(), io);
  const CheckReport checked = check(*schedule);
  if (!checked.ok()) {
    io.err << checked.text;
    return kNotSo;
  }
  Costs costs;
  if (!options.cost.empty()) {
    const auto parsed = parse_costs(options.cost);
    if (!parsed) {
      report(parsed.error(), io);
      return kUsage;
    }
    costs = *parsed;
  }
  const auto times = timeline(*schedule, costs);
  if (!times) return report(times.error(), io);
  if (options.output == "json") {
    const auto json_text = to_json(*schedule, costs);
    if (!json_text) return report(json_text.error(), io);
    io.out << *json_text << "\n";
  } else if (options.output == "svg") {
    io.out << to_svg(*schedule, *times);
  } else if (options.output == "trace") {
    io.out << to_chrome_trace(*schedule, *times) << "\n";
  } else {
    io.out << to_text(options.messages ? lowered(*schedule) : *schedule);
    io.err << fmt::format("makespan {:g}; bubble by rank", times->makespan);
    for (const double bubble : times->bubble) io.err << fmt::format(" {:g}", bubble);
    io.err << "; peak activations";
    for (const int peak : checked.peak_activations) io.err << " " << peak;
    io.err << "\n";
  }
  return kOk;
}

}  // namespace weft::cli

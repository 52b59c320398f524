#include "runtime/cli/plan_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/units.h"
#include "scheduler/time/exchange.h"

namespace weft::cli {

using namespace scheduler;

namespace {

/// Three digits, without an exponent.
std::string digits(double value) {
  const double size = std::abs(value);
  if (size >= 999.5) {
    const double unit = std::pow(10.0, std::floor(std::log10(size)) - 2);
    return fmt::format("{:.0f}", std::round(value / unit) * unit);
  }
  return fmt::format("{:.{}f}", value,
                     size < 1e-12    ? 0
                     : size < 0.9995 ? 3
                     : size < 9.995  ? 2
                     : size < 99.95  ? 1
                                     : 0);
}

/// One digit more than the time that it surrounds.
std::string finer_time(double seconds) {
  return seconds < 2 * 86400 || seconds >= 1000 * 86400.0
             ? short_time(seconds)
             : fmt::format("{:.2f} d", seconds / 86400);
}
std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }
std::string gigabytes(double bytes) {
  if (bytes <= 0) return "0";
  return bytes < 1e5    ? digits(bytes / 1e3) + " KB"
         : bytes < 1e8  ? digits(bytes / 1e6) + " MB"
         : bytes < 1e14 ? digits(bytes / 1e9) + " GB"
                        : digits(bytes / 1e15) + " PB";
}
/// A count that may be a small part of one.
std::string expected(double count) {
  return count >= 0.01 ? digits(count) : count > 0 ? "under 0.01" : "none";
}
const char* device_name(const Cluster& cluster) { return cluster.gpu.sms > 0 ? "GPU" : "worker"; }
std::string day(WallTime time) { return format_time(time).substr(0, 10); }

/// "1,234,567" with three digits that count.
std::string grouped(double value) {
  std::string text = digits(value);
  if (text.find('.') != std::string::npos) return text;
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<std::size_t>(at), ",");
  return text;
}

/// What only rollout needs, and of which parts a CPU's copies and buffers are.
std::string further_parts(const RankBytes& b) {
  std::string text;
  if (b.kv_cache > 0 && !b.pool) text += ", KV cache of rollout " + gigabytes(b.kv_cache);
  if (b.replicas > 0)
    text += ", replicas of experts in rollout " + gigabytes(b.replicas + b.packed_replicas);
  if (b.packed > 0) text += "; of the weights packed copies " + gigabytes(b.packed);
  if (b.transport > 0)
    text += fmt::format("; of the buffers expert exchange {}, rings between ranks {}",
                        gigabytes(b.exchange), gigabytes(b.transport));
  return text;
}

void add_run_lines(const Prediction& plan, const Inputs& inputs, WallTime now, Lines& lines) {
  const Cluster& cluster = inputs.cluster;
  const RunCost& run = *plan.run;
  lines.emplace_back("run",
                     fmt::format("{}{} steps, {} tokens", grouped(run.steps),
                                 inputs.steps_done > 0 ? " more" : "", short_count(run.tokens)));
  // Nobody plans for a day that far away; beyond it there is no date.
  constexpr double kDatedMax = 100 * 365.25 * 86400;
  std::string finished = "after " + short_time(run.seconds);
  if (run.seconds < kDatedMax)
    finished = day(now + std::chrono::duration_cast<WallTime::duration>(
                             std::chrono::duration<double>(run.seconds))) +
               " " + finished;
  // Without failures to count there is nothing to be uncertain about but the step itself.
  if (run.failures >= 0.01)
    finished +=
        fmt::format(" ({} to {}, 90 %)", finer_time(run.seconds_low), finer_time(run.seconds_high));
  lines.emplace_back("finished", finished);
  if (cluster.node_mtbf > 0)
    lines.emplace_back(
        "failures",
        fmt::format("{} expected, one each {}{}",
                    run.failures < 1000 ? expected(run.failures) : grouped(run.failures),
                    short_time(cluster.node_mtbf / std::max(1, plan.nodes)),
                    run.failures >= 0.01 ? fmt::format("; they lose {}; goodput {}",
                                                       short_time(run.lost), percent(run.goodput()))
                                         : std::string()));
  const char* device = device_name(cluster);
  std::string cost = run.gpu_hours < 0.01
                         ? fmt::format("under 0.01 {}-hours", device)
                         : fmt::format("{} {}-hours", grouped(run.gpu_hours), device);
  if (cluster.gpu_hour > 0 && run.dollars >= 0.01)
    cost += fmt::format(" x ${} = ${}", digits(cluster.gpu_hour), grouped(run.dollars));
  if (cluster.gpu.power > 0 && run.kilowatt_hours >= 0.01)
    cost += run.kilowatt_hours < 1000 ? ", " + digits(run.kilowatt_hours) + " kWh"
                                      : ", " + grouped(run.kilowatt_hours / 1000) + " MWh";
  if (plan.spare_nodes > 0 && run.gpu_hours >= 0.01)
    cost += fmt::format("; {} spare node{} not counted", plan.spare_nodes,
                        plan.spare_nodes == 1 ? "" : "s");
  lines.emplace_back("cost", cost);
}

void add_step_lines(const Prediction& plan, const Cluster& cluster, Lines& lines) {
  const StepTime& s = plan.step;
  lines.emplace_back("step", short_time(s.total));
  const auto part = [&](const char* name, double seconds) {
    if (seconds > 0)
      lines.emplace_back(name,
                         fmt::format("{} ({})", short_time(seconds), percent(seconds / s.total)));
  };
  part("  forward", s.forward);
  part("  backward, input", s.backward_input);
  part("  backward, weights", s.backward_weight);
  part("  overlapped pairs", s.pairs);
  part("  bubble", s.bubble);
  part("  optimizer", s.optimizer());
  part("exposed exchange", s.exposed_exchange);
  lines.emplace_back(
      "throughput", fmt::format("{} tokens/s, {} a {}", short_count(plan.tokens_per_second),
                                grouped(plan.tokens_per_second / plan.gpus), device_name(cluster)));
  lines.emplace_back(
      "MFU", fmt::format("{} causal, {} non-causal", percent(plan.mfu), percent(plan.mfu_full)));
}

std::string placement_text(const Prediction& plan, const Cluster& cluster) {
  const Layout& l = plan.work.layout;
  const int nodes = exchange_nodes(plan.work, cluster);
  std::string text =
      fmt::format("{} node{}, {} spare", plan.nodes, plan.nodes == 1 ? "" : "s", plan.spare_nodes);
  if (l.expert > 1)
    text += nodes == 1 ? fmt::format("; {} expert ranks on one {}", l.expert,
                                     cluster.gpu.sms > 0 ? "NVLink domain" : "host")
                       : fmt::format(
                             "; {} expert ranks on {} {}{}", l.expert, nodes,
                             cluster.node.nvlink_nodes > 1 ? "NVLink domains" : "nodes",
                             nodes <= cluster.leaf_nodes() ? " of one leaf" : " of several leaves");
  return text;
}

/// What the run would cost more, as it is dearer by as much as its steps are slower; "" where
/// nothing is known of money.
std::string dearer(const Alternative& a, const Prediction& plan) {
  const double more = plan.run ? plan.run->dollars * a.slower : 0;
  if (std::abs(more) < 0.01) return {};
  return fmt::format(", ${} {}", grouped(std::abs(more)), more > 0 ? "more" : "less");
}

std::string why_text(const Alternative& a, const Prediction& plan) {
  if (a.possible)
    return fmt::format("{}; {} would be {} {}{}, {}", a.chosen, a.other,
                       percent(std::abs(a.slower)), a.slower >= 0 ? "slower" : "faster",
                       dearer(a, plan), gigabytes(a.bytes));
  if (a.bytes <= 0) return fmt::format("{}; {} is not possible: {}", a.chosen, a.other, a.why_not);
  return fmt::format("{}; {} does not fit: {}", a.chosen, a.other, gigabytes(a.bytes));
}

}  // namespace

std::string proposal_text(const Proposal& change) {
  return fmt::format("with --what-if '{}': {} a step, {}", change.what_if,
                     short_time(change.step_seconds), gigabytes(change.peak_bytes));
}

std::string short_time(double seconds) {
  if (seconds < 1e-3) return digits(seconds * 1e6) + " us";
  if (seconds < 1) return digits(seconds * 1e3) + " ms";
  if (seconds < 5400) return digits(seconds) + " s";
  if (seconds < 2 * 86400) return digits(seconds / 3600) + " h";
  if (seconds < 1000 * 86400.0) return digits(seconds / 86400) + " d";
  return grouped(seconds / (365.25 * 86400)) + " years";
}

std::string short_count(double value) {
  if (value >= 1e12) return grouped(value / 1e12) + " T";
  if (value >= 1e9) return digits(value / 1e9) + " B";
  if (value >= 1e6) return digits(value / 1e6) + " M";
  return grouped(value);
}

std::string layout_text(const Work& work) {
  const Layout& l = work.layout;
  return fmt::format("{} P{} D{} E{}, {} micro-batches of {}, recompute {}, {}",
                     dualpipe::to_string(l.kind), l.pipeline, l.data, l.expert, l.micro_batches,
                     work.micro_batch_sequences, to_string(work.recompute),
                     to_string(work.precision));
}

std::vector<std::string> assumptions_of(const Inputs& inputs) {
  const TimeAssumptions& a = inputs.assumptions;
  std::vector<std::string> out;
  if (inputs.cluster.gpu.sms > 0) {
    out.push_back(
        "calibrated on published kernel times (deepseek-ai/profile-data): bytes of "
        "row-wise kernels, exchanges 1.53 times as long beside compute, 9 % idle in an "
        "overlapped pair");
    out.push_back(
        "from published kernels: rates and exchange bandwidths of the cluster file "
        "(weft cluster show)");
    out.push_back(
        "predicted, no constant solved for: step time and all of its parts, memory, cost");
  } else {
    out.push_back("measured by weft cluster probe: rates of the cluster file (weft cluster show)");
  }
  if (inputs.cluster.node.spread.given())
    out.push_back(fmt::format(
        "steps of this machine vary by {:.0f} % from run to run; no prediction is closer than that",
        100 * std::max(0.01, inputs.cluster.node.spread.value)));
  if (inputs.work.layout.expert > 1)
    out.push_back(fmt::format(
        "assumed: an expert's load varies by {:.0f} % from sequence to "
        "sequence, so the busiest rank has {:.0f} % more rows",
        100 * a.load_variation, 100 * (expected_imbalance(inputs.work, a.load_variation) - 1)));
  if (a.straggler > 1 && !(inputs.cluster.node.cores > 0))
    out.push_back(fmt::format("assumed: the slowest GPU computes {:.1f} % slower than one alone",
                              100 * (a.straggler - 1)));
  if (inputs.cluster.node_mtbf > 0)
    out.push_back(fmt::format("failures: a node each {} ({})", short_time(inputs.cluster.node_mtbf),
                              inputs.cluster.node_mtbf.source));
  return out;
}

Lines plan_lines(const Prediction& plan, const Inputs& inputs, const std::vector<Alternative>& why,
                 const std::vector<Proposal>& changes, WallTime now) {
  const Cluster& cluster = inputs.cluster;
  const RankBytes& full = plan.memory[static_cast<std::size_t>(plan.fullest)];
  Lines lines;
  lines.emplace_back("verdict", plan.fits ? "fits" : "does not fit");
  for (const std::string& problem : plan.problems) lines.emplace_back("  because", problem);
  for (const Proposal& change : changes) lines.emplace_back("  would fit", proposal_text(change));
  if (!plan.fits && changes.empty())
    lines.emplace_back("  would fit", "no layout that was tried; more nodes or memory are needed");
  lines.emplace_back("layout", layout_text(plan.work));
  lines.emplace_back("placement", placement_text(plan, cluster));
  lines.emplace_back("schedule", plan.deadlock_free ? "checked, free of deadlock"
                                                    : "does not pass weft schedule's check");
  lines.emplace_back(
      "memory",
      fmt::format("{} of {} on the fullest rank (position {}): weights {}, gradients {}, "
                  "optimizer {}, activations {} ({} micro-batches), buffers {}{}",
                  gigabytes(full.total()), gigabytes(cluster.gpu.memory), plan.fullest,
                  gigabytes(full.weights + full.packed), gigabytes(full.gradients + full.received),
                  gigabytes(full.masters + full.moments), gigabytes(full.activations), full.live,
                  gigabytes(full.buffers()), further_parts(full)));
  if (plan.timed) add_step_lines(plan, cluster, lines);
  if (plan.run) add_run_lines(plan, inputs, now, lines);
  const double every = plan.work.checkpoint_every * plan.step.total;
  if (plan.timed && every > 0)
    lines.emplace_back(
        "checkpoints",
        fmt::format("each {}, {} held up{}", short_time(every), short_time(plan.checkpoint_stall),
                    cluster.node_mtbf > 0 ? fmt::format("; least is lost with one each {}",
                                                        short_time(best_checkpoint_interval(
                                                            plan.work, cluster, plan.nodes)))
                                          : std::string()));
  for (const Alternative& a : why) lines.emplace_back("why " + a.decision, why_text(a, plan));
  for (const std::string& text : assumptions_of(inputs)) lines.emplace_back("rests on", text);
  return lines;
}

}  // namespace weft::cli

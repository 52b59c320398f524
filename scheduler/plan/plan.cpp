#include "scheduler/plan/plan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "dualpipe/check.h"

namespace weft::scheduler {
namespace {

constexpr double kHour = 3600;
constexpr double kNinetyPercent = 1.645;  // standard deviations to each side

std::string gigabytes(double bytes) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%.3g GB", bytes / 1e9);
  return text.data();
}

void check_gpus(const Cluster& cluster, Prediction& out) {
  if (out.gpus > cluster.num_gpus())
    out.problems.push_back("needs " + std::to_string(out.gpus) + " GPUs, the cluster has " +
                           std::to_string(cluster.num_gpus()));
}

void check_memory(const Cluster& cluster, Prediction& out) {
  if (out.peak_bytes() > cluster.gpu.memory)
    out.problems.push_back("position " + std::to_string(out.fullest) + " needs " +
                           gigabytes(out.peak_bytes()) + " a GPU, " + cluster.gpu.name + " has " +
                           gigabytes(cluster.gpu.memory));
}

void check_experts(Prediction& out) {
  const int experts = out.work.model.experts, shards = out.work.layout.expert;
  if (experts > 0 && experts % shards != 0)
    out.problems.push_back(std::to_string(experts) + " experts do not divide over " +
                           std::to_string(shards) + " ranks");
}

void check_precision(const Cluster& cluster, Prediction& out) {
  if (!has_precision(out.work.precision, cluster))
    out.problems.push_back(cluster.gpu.name + " has no FP8 (the cluster gives no gpu.fp8)");
}

void check_time(const Cluster& cluster, Prediction& out) {
  out.timed = std::isfinite(out.step.total) && out.step.total > 0;
  if (!out.timed)
    out.problems.push_back(
        "no time is predicted: " +
        (cluster.node.nic_bandwidth.given()
             ? std::string("a rate of the cluster is too small for this work")
             : "ranks on several nodes, and the cluster has no node.nic_bandwidth"));
}

}  // namespace

bool has_precision(Precision precision, const Cluster& cluster) {
  // CPU workers emulate it.
  return precision != Precision::FP8 || cluster.gpu.fp8 > 0 || !(cluster.gpu.sms > 0);
}

double checkpoint_stall(const Work& work, const Cluster& cluster) {
  const double share = checkpoint_bytes(work) / work.layout.world();
  if (cluster.node.host_bandwidth > 0) return share / cluster.node.host_bandwidth;
  return cluster.storage_write > 0 ? checkpoint_bytes(work) / cluster.storage_write : 0;
}

double best_checkpoint_interval(const Work& work, const Cluster& cluster, int nodes) {
  if (!(cluster.node_mtbf > 0)) return 0;
  const double stall = std::max(checkpoint_stall(work, cluster), 1e-3);
  const double written =
      cluster.storage_write > 0 ? checkpoint_bytes(work) / cluster.storage_write : 0;
  return std::max(written, std::sqrt(2 * stall * cluster.node_mtbf / std::max(1, nodes)));
}

RunCost run_cost(const Work& work, const Cluster& cluster, double step_seconds, double stall,
                 int nodes) {
  RunCost out;
  out.steps = work.steps;
  out.tokens = work.steps * work.step_tokens();
  out.productive = work.steps * step_seconds;
  const double every = work.checkpoint_every > 0 ? work.checkpoint_every : work.steps;
  out.checkpoints = work.checkpoint_every > 0 ? work.steps / every * stall : 0;
  // A failure costs a restart and, evenly distributed, up to one checkpoint interval.
  const double interval = every * step_seconds;
  const double undisturbed = out.productive + out.checkpoints;
  double variance = 0;
  if (cluster.node_mtbf > 0) {
    const double rate = nodes / cluster.node_mtbf;
    const double each = cluster.restart + interval / 2;
    const double square =
        cluster.restart * cluster.restart + cluster.restart * interval + interval * interval / 3;
    // Failures happen during lost time too.
    const double share = std::min(0.95, rate * each);
    out.failures = rate * undisturbed / (1 - share);
    out.lost = out.failures * each;
    variance = out.failures * square;
  }
  out.seconds = undisturbed + out.lost;
  const double spread = kNinetyPercent * std::sqrt(variance);
  out.seconds_low = std::max(undisturbed, out.seconds - spread);
  out.seconds_high = out.seconds + spread;
  const int gpus = work.layout.world();
  out.gpu_hours = out.seconds / kHour * gpus;
  out.dollars = out.gpu_hours * cluster.gpu_hour;
  out.kilowatt_hours =
      out.seconds / kHour * (gpus * cluster.gpu.power + nodes * cluster.node.power) / 1000;
  return out;
}

Expected<Prediction> predict(const Work& work, const Cluster& cluster,
                             const TimeAssumptions& assumptions) {
  Prediction out;
  out.work = work;
  WEFT_TRY_ASSIGN(out.step, step_time(work, cluster, assumptions));
  WEFT_TRY_ASSIGN(out.memory, rank_bytes(work, cluster));
  const auto fullest = std::ranges::max_element(out.memory, {}, &RankBytes::total);
  out.fullest = static_cast<int>(fullest - out.memory.begin());
  out.gpus = work.layout.world();
  out.nodes = (out.gpus + cluster.gpus_per_node() - 1) / cluster.gpus_per_node();
  out.spare_nodes = std::max(0, cluster.num_nodes() - out.nodes);
  check_gpus(cluster, out);
  check_experts(out);
  check_memory(cluster, out);
  check_precision(cluster, out);
  check_time(cluster, out);
  out.fits = out.problems.empty();
  out.checkpoint_stall = checkpoint_stall(work, cluster);
  WEFT_TRY_ASSIGN(
      const dualpipe::Schedule schedule,
      dualpipe::generate(work.layout.kind, {work.layout.pipeline, work.layout.micro_batches}));
  out.deadlock_free = dualpipe::check(schedule).ok();
  if (!out.timed) return out;
  out.tokens_per_second = work.step_tokens() / out.step.total;
  const double peak = work.precision == Precision::F32 ? cluster.gpu.fp32 : cluster.gpu.bf16;
  const auto mfu = [&](bool causal) {
    return work.model.training_flops(work.sequence, causal) * out.tokens_per_second /
           (peak * out.gpus);
  };
  out.mfu = mfu(true);
  out.mfu_full = mfu(false);
  if (work.steps > 0)
    out.run = run_cost(work, cluster, out.step.total, out.checkpoint_stall, out.nodes);
  return out;
}

}  // namespace weft::scheduler

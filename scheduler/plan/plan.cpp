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
  if (out.gpus <= cluster.num_gpus()) return;
  const Layout& layout = out.work.layout;
  const int lanes = cluster.num_gpus() / layout.pipeline / layout.expert * layout.expert;
  std::string fix = lanes > 0 ? "parallel.data: " + std::to_string(lanes)
                              : "fewer pipeline positions or expert shards";
  out.problems.push_back(
      "needs " + std::to_string(out.gpus) + " GPUs, the cluster has " +
      std::to_string(cluster.num_gpus()) + ": " + fix + ", or network.nodes: " +
      std::to_string((out.gpus + cluster.gpus_per_node() - 1) / cluster.gpus_per_node()));
}

/// The smallest change that makes the fullest rank fit.
std::string memory_fix(const Work& work, const Cluster& cluster) {
  const auto fits = [&](const Work& other) {
    const auto bytes = rank_bytes(other, cluster);
    return bytes && std::ranges::all_of(*bytes, [&](const RankBytes& b) {
             return b.total() <= cluster.gpu.memory;
           });
  };
  Work other = work;
  for (const Recompute recompute : {Recompute::MlaUp, Recompute::Full})
    if (recompute > work.recompute) {
      other.recompute = recompute;
      if (fits(other)) return "parallel.recompute: " + std::string(to_string(recompute));
    }
  other = work;
  while (other.layout.expert * 2 <= other.layout.data &&
         other.layout.data % (other.layout.expert * 2) == 0 &&
         other.model.experts % (other.layout.expert * 2) == 0) {
    other.layout.expert *= 2;
    if (fits(other)) return "parallel.expert: " + std::to_string(other.layout.expert);
  }
  return "more pipeline positions, or a GPU with more memory";
}

void check_memory(const Cluster& cluster, Prediction& out) {
  if (out.peak_bytes() <= cluster.gpu.memory) return;
  out.problems.push_back("position " + std::to_string(out.fullest) + " needs " +
                         gigabytes(out.peak_bytes()) + " a GPU, a " + cluster.gpu.name + " has " +
                         gigabytes(cluster.gpu.memory) + ": " + memory_fix(out.work, cluster));
}

void check_experts(Prediction& out) {
  const int experts = out.work.model.experts, shards = out.work.layout.expert;
  if (experts > 0 && experts % shards != 0)
    out.problems.push_back(std::to_string(experts) + " experts do not divide over " +
                           std::to_string(shards) + " ranks: parallel.expert must divide both");
}

}  // namespace

double checkpoint_stall(const Work& work, const Cluster& cluster) {
  const double share = checkpoint_bytes(work) / work.layout.world();
  if (cluster.node.host_bandwidth > 0) return share / cluster.node.host_bandwidth;
  return cluster.storage_write > 0 ? checkpoint_bytes(work) / cluster.storage_write : 0;
}

double best_checkpoint_interval(const Cluster& cluster, double stall, int nodes) {
  if (!(cluster.node_mtbf > 0)) return 0;
  return std::sqrt(2 * std::max(stall, 1e-3) * cluster.node_mtbf / std::max(1, nodes));
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
  out.fits = out.problems.empty();
  out.tokens_per_second = work.step_tokens() / out.step.total;
  const double peak = work.precision == Precision::F32 ? cluster.gpu.fp32 : cluster.gpu.bf16;
  const auto mfu = [&](bool causal) {
    return work.model.training_flops(work.sequence, causal) * out.tokens_per_second /
           (peak * out.gpus);
  };
  out.mfu = mfu(true);
  out.mfu_full = mfu(false);
  out.checkpoint_stall = checkpoint_stall(work, cluster);
  if (work.steps > 0)
    out.run = run_cost(work, cluster, out.step.total, out.checkpoint_stall, out.nodes);
  WEFT_TRY_ASSIGN(
      const dualpipe::Schedule schedule,
      dualpipe::generate(work.layout.kind, {work.layout.pipeline, work.layout.micro_batches}));
  out.deadlock_free = dualpipe::check(schedule).ok();
  return out;
}

}  // namespace weft::scheduler

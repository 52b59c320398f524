#include "scheduler/time/step_end.h"

#include <algorithm>

#include "scheduler/time/phase_work.h"

namespace weft::scheduler {

double dense_parameters(const ModelShape& m, const StageBlocks& stage) {
  const bool moe = m.experts > 0;
  double sum = stage.dense * m.block_dense(false) + stage.moe * m.block_dense(true) +
               stage.next_token * (m.block_dense(moe) + m.next_token_join() + 3.0 * m.hidden);
  if (stage.first) sum += m.embedding();
  if (stage.last) sum += m.hidden + (m.tied ? 0 : m.embedding());
  return sum;
}

double expert_parameters(const ModelShape& m, const StageBlocks& stage) {
  return (stage.moe + stage.next_token) * m.block_experts(m.experts > 0);
}

double collective_seconds(double bytes, int ranks, int neighbours, const Cluster& cluster) {
  if (ranks <= 1 || bytes <= 0) return 0;
  const int inside = std::clamp(neighbours, 1, ranks);
  const int nodes = (ranks + inside - 1) / inside;
  double seconds = bytes * (inside - 1) / inside / cluster.node.nvlink_bandwidth;
  if (nodes > 1) {
    const double nic = cluster.node.nic_bandwidth * cluster.node.nics / cluster.gpus_per_node();
    seconds += bytes / inside * (nodes - 1) / nodes / (nic * cluster.kernels.collective);
  }
  return seconds;
}

double cores_shared_by(const Work& work, const Cluster& cluster) {
  if (!(cluster.node.cores > 0)) return 1;
  const double here = std::min(work.layout.world(), cluster.gpus_per_node());
  return std::max(1.0, here / cluster.node.cores);
}

double update_rate(const Cluster& cluster) {
  return cluster.kernels.update > 0 ? cluster.kernels.update.value
                                    : cluster.gpu.memory_bandwidth * cluster.kernels.memory;
}

namespace {

/// What ranks send each other of a weight: this program's own workers keep them in F32.
double weight_bytes(const Work& work, const Cluster& cluster) {
  return work.precision == Precision::F32 || cluster.node.cores > 0 ? 4 : 2;
}

double touch_rate(const Work& work, const Cluster& cluster) {
  const NarrowRates* own = narrow_rates(work.precision, cluster);
  return own != nullptr && own->touch.given() ? own->touch : cluster.kernels.touch;
}

}  // namespace

StepEnd step_end(const Work& work, const Cluster& cluster, const std::vector<StageBlocks>& stages) {
  const Layout& layout = work.layout;
  const int copies = dualpipe::num_directions(layout.kind);
  const int dense_ranks = layout.data * copies;
  const int expert_ranks = layout.data / layout.expert * copies;
  const int node = cluster.nvlink_gpus();
  const int dense_inside = layout.world() <= node ? dense_ranks : std::min(layout.data, node);
  const int expert_inside = layout.world() <= node ? expert_ranks
                            : layout.expert >= node
                                ? 1
                                : std::min(node / layout.expert, layout.data / layout.expert);
  const double weight = weight_bytes(work, cluster);
  const double touch = touch_rate(work, cluster);
  const double moment = work.bf16_moments ? 2 : 4;
  StepEnd worst;
  for (int position = 0; position < layout.pipeline; ++position) {
    StepEnd end;
    for (const int s : dualpipe::stages_of(layout.kind, layout.pipeline, position)) {
      const StageBlocks& stage = stages[static_cast<std::size_t>(s)];
      const double dense = dense_parameters(work.model, stage);
      const double experts = expert_parameters(work.model, stage) / layout.expert;
      const auto both = [&](double bytes) {
        return collective_seconds(bytes * dense, dense_ranks, dense_inside, cluster) +
               collective_seconds(bytes * experts, expert_ranks, expert_inside, cluster);
      };
      end.reduce += both(4);
      end.gather += both(weight);
      // Gradient and master read, master written, both moments read and written, weight written.
      const double own = dense / dense_ranks + experts / expert_ranks;
      end.update += own * (4 + 4 + 4 + 4 * moment + weight) / update_rate(cluster);
      if (touch > 0) end.update += 4 * (dense + experts) / touch;
    }
    end.update += cluster.kernels.step;
    const double turns = cores_shared_by(work, cluster);
    for (double* part : {&end.reduce, &end.gather, &end.update}) *part *= turns;
    if (end.reduce + end.gather + end.update > worst.reduce + worst.gather + worst.update)
      worst = end;
  }
  return worst;
}

}  // namespace weft::scheduler

#include "scheduler/time/exchange.h"

#include <algorithm>
#include <cmath>

#include "scheduler/time/step_end.h"

namespace weft::scheduler {
namespace {

constexpr double kScaleBytes = 4.0 / 128;  // an FP32 scale for 128 FP8 numbers

/// What comes back from the experts is in BF16 on a GPU; this program's own workers send it whole.
double row_bytes(const Work& work, const Cluster& cluster, Direction direction) {
  const bool wide = work.precision == Precision::F32 || cluster.node.cores > 0;
  const Precision payload = direction == Direction::Dispatch ? work.dispatch
                            : wide                           ? Precision::F32
                                                             : Precision::BF16;
  const double element = payload == Precision::F32    ? 4
                         : payload == Precision::BF16 ? 2
                                                      : 1 + kScaleBytes;
  return element * work.model.hidden;
}

/// Expected number of different bins that `balls` hit of `bins`.
double distinct(double bins, double balls) {
  return bins <= 1 ? 1 : bins * (1 - std::pow(1 - 1 / bins, balls));
}

/// Nodes that a token visits: groups are chosen first, each lies on its own nodes.
double nodes_visited(const ModelShape& m, double nodes) {
  const double limited = m.groups > 1 ? nodes * m.top_groups / m.groups : nodes;
  if (limited >= 1 && nodes >= m.groups) return distinct(limited, m.top_k);
  // Several groups a node: the groups are the balls.
  const double groups = m.groups > 1 ? distinct(m.top_groups, m.top_k) : m.top_k;
  return distinct(nodes, groups);
}

/// Log-linear between the measured widths; the nearest one outside.
double measured_bandwidth(const Cluster& cluster, int ranks, Direction direction) {
  const auto value = [&](const ExchangeRate& rate) {
    return direction == Direction::Dispatch ? rate.dispatch.value : rate.combine.value;
  };
  const auto& table = cluster.exchange;
  if (ranks <= table.front().ranks) return value(table.front());
  for (std::size_t i = 1; i < table.size(); ++i) {
    if (ranks > table[i].ranks) continue;
    const double low = std::log(table[i - 1].ranks), high = std::log(table[i].ranks);
    const double at = (std::log(ranks) - low) / (high - low);
    return value(table[i - 1]) + at * (value(table[i]) - value(table[i - 1]));
  }
  return value(table.back());
}

/// Blom's approximation of the expected largest of n standard normals.
double expected_maximum(int n) {
  if (n <= 1) return 0;
  const double p = (n - 0.375) / (n + 0.25);
  const double t = std::sqrt(-2 * std::log(1 - p));
  return t - (2.515517 + 0.802853 * t + 0.010328 * t * t) /
                 (1 + 1.432788 * t + 0.189269 * t * t + 0.001308 * t * t * t);
}

}  // namespace

int exchange_nodes(const Work& work, const Cluster& cluster) {
  return (work.layout.expert + cluster.nvlink_gpus() - 1) / cluster.nvlink_gpus();
}

ExchangeCost exchange_cost(const Work& work, const Cluster& cluster, Direction direction,
                           double imbalance) {
  ExchangeCost cost;
  const int ranks = work.layout.expert, nodes = exchange_nodes(work, cluster);
  if (ranks <= 1 || work.model.experts == 0) return cost;
  cost.copies = nodes > 1 ? nodes_visited(work.model, nodes) : distinct(ranks, work.model.top_k);
  cost.bytes =
      work.micro_batch_tokens() * cost.copies * row_bytes(work, cluster, direction) * imbalance;
  const bool measured = !cluster.exchange.empty() &&
                        (nodes > 1) == (cluster.exchange.back().ranks > cluster.nvlink_gpus());
  if (measured) {
    cost.seconds =
        cost.bytes / measured_bandwidth(cluster, ranks, direction) + cluster.kernels.exchange;
    if (cores_shared_by(work, cluster) > 1) cost.seconds += cluster.node.handover;
    return cost;
  }
  if (nodes == 1) {
    const double away = 1.0 - 1.0 / ranks;
    cost.seconds = cost.bytes * away / cluster.node.nvlink_bandwidth + cluster.node.nvlink_latency;
    return cost;
  }
  const double nics = cluster.node.nic_bandwidth * cluster.node.nics / cluster.gpus_per_node();
  const double away = 1.0 - 1.0 / nodes;
  cost.seconds = cost.bytes * away / (nics * cluster.kernels.collective) +
                 cluster.node.nic_latency_across + cluster.node.nvlink_latency;
  return cost;
}

double expected_imbalance(const Work& work, double variation) {
  const ModelShape& m = work.model;
  const int ranks = work.layout.expert;
  if (m.experts == 0 || ranks <= 1) return 1;
  const double experts = std::max(1.0, 1.0 * m.experts / ranks);
  const double sequences = 1.0 * ranks * work.micro_batch_sequences;
  const double rows = work.micro_batch_tokens() * m.top_k;
  const double spread = std::sqrt(variation * variation / (experts * sequences) + 1 / rows);
  return 1 + spread * expected_maximum(ranks);
}

}  // namespace weft::scheduler

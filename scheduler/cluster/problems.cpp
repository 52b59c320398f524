#include "scheduler/cluster/problems.h"

#include <algorithm>
#include <cmath>

#include "scheduler/cluster/fields.h"

namespace weft::scheduler {
namespace {

/// Below this a rate is a slip of the unit, and what follows from it is no time that anybody waits.
double least_of(Unit unit) {
  switch (unit) {
    case Unit::Flops:
    case Unit::Bytes:
      return 1e6;
    case Unit::Bandwidth:
      return 1e3;
    case Unit::Share:
      return 1e-6;
    default:
      return 0;
  }
}

bool whole(const ClusterField& field) {
  return field.unit == Unit::Count && field.path != "network.oversubscription" &&
         field.path != "node.crowding";
}

void check_range(const ClusterField& field, const Cluster& cluster,
                 std::vector<ClusterProblem>& out) {
  const Figure& figure = field.of(cluster);
  const std::string path(field.path);
  if (!figure.given()) {
    if (field.required)
      out.push_back(
          {path, path + " is missing",
           "give it with its source: " + std::string(field.path.substr(field.path.find('.') + 1)) +
               ": [" + example_figure(field.unit) + ", where it comes from]"});
    return;
  }
  const bool low = field.zero ? figure.value < 0 : figure.value <= 0;
  if (!std::isfinite(figure.value))
    out.push_back({path, path + " is no number that can be reckoned with",
                   "at most " + figure_text(field.unit, field.max)});
  else if (low)
    out.push_back({path, path + " is " + figure_text(field.unit, figure.value),
                   field.zero ? "it must not be negative" : "it must be more than 0"});
  else if (figure.value > 0 && figure.value < least_of(field.unit))
    out.push_back(
        {path, path + " is " + figure_text(field.unit, figure.value),
         "at least " + figure_text(field.unit, least_of(field.unit)) + ": is the unit right?"});
  else if (figure.value > field.max)
    out.push_back({path, path + " is " + figure_text(field.unit, figure.value),
                   "at most " + figure_text(field.unit, field.max) +
                       (field.unit == Unit::Share ? ": no kernel is faster than the peak" : "")});
  else if (whole(field) && figure.value != std::floor(figure.value))
    out.push_back({path, path + " is " + figure_text(field.unit, figure.value),
                   "it must be a whole number, such as " +
                       figure_text(field.unit, std::max(1.0, std::floor(figure.value)))});
}

}  // namespace

std::vector<ClusterProblem> problems(const Cluster& c) {
  std::vector<ClusterProblem> out;
  for (const ClusterField& field : cluster_fields()) check_range(field, c, out);
  const auto count = [](double value) { return figure_text(Unit::Count, value); };
  if (c.gpu.sms.given() && c.gpu.communication_sms >= c.gpu.sms)
    out.push_back({"gpu.communication_sms",
                   "gpu.communication_sms is " + count(c.gpu.communication_sms) + " and gpu.sms " +
                       count(c.gpu.sms) + ": nothing is left to compute",
                   "at most " + count(std::max(0.0, std::ceil(c.gpu.sms) - 1))});
  if (c.nodes_per_leaf > c.nodes && c.nodes >= 1)
    out.push_back({"network.nodes_per_leaf",
                   "network.nodes_per_leaf is " + count(c.nodes_per_leaf) +
                       ", but there are only " + count(c.nodes) + " nodes",
                   "at most " + count(std::floor(c.nodes))});
  if (c.oversubscription.given() && c.oversubscription > 0 && c.oversubscription < 1)
    out.push_back({"network.oversubscription",
                   "network.oversubscription is " + count(c.oversubscription), "1 (none) or more"});
  if (c.node.crowding.given() && c.node.crowding > 0 && c.node.crowding < 1)
    out.push_back({"node.crowding", "node.crowding is " + count(c.node.crowding),
                   "1 (nothing is lost by sharing cores) or more"});
  if (c.nodes > 1 && !c.node.nic_bandwidth.given())
    out.push_back({"node.nic_bandwidth",
                   "there are " + count(c.nodes) + " nodes and node.nic_bandwidth is missing",
                   "give what joins them, or network.nodes: 1"});
  if (c.node.nvlink_nodes.given() && c.nodes >= 1 && c.node.nvlink_nodes > c.nodes)
    out.push_back({"node.nvlink_nodes",
                   "node.nvlink_nodes is " + count(c.node.nvlink_nodes) + ", but there are only " +
                       count(c.nodes) + " nodes",
                   "at most " + count(c.nodes)});
  if (c.node.nic_latency_across.given() && c.node.nic_latency_across < c.node.nic_latency)
    out.push_back({"node.nic_latency_across",
                   "node.nic_latency_across is less than node.nic_latency, which is the way under "
                   "one leaf",
                   "at least " + figure_text(Unit::Time, c.node.nic_latency)});
  if (c.nodes * c.node.gpus > kClusterSizeMax)
    out.push_back({"network.nodes",
                   "network.nodes x node.gpus is " + count(c.nodes * c.node.gpus) + " GPUs",
                   "at most " + count(kClusterSizeMax)});
  for (std::size_t i = 0; i < c.exchange.size(); ++i) {
    const std::string path = "exchange." + std::to_string(i);
    const ExchangeRate& rate = c.exchange[i];
    if (rate.ranks < 2)
      out.push_back({path, path + ".ranks is " + std::to_string(rate.ranks), "at least 2"});
    if (!(rate.dispatch > 0) || !(rate.combine > 0))
      out.push_back({path, path + ": dispatch and combine must be more than 0 B/s",
                     "such as dispatch: [51 GB/s, DeepEP]"});
    if (i > 0 && rate.ranks <= c.exchange[i - 1].ranks)
      out.push_back({path,
                     path + ".ranks is " + std::to_string(rate.ranks) + " after " +
                         std::to_string(c.exchange[i - 1].ranks),
                     "list them by ascending ranks, each once"});
  }
  return out;
}

}  // namespace weft::scheduler

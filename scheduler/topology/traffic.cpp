#include "scheduler/topology/traffic.h"

#include <set>

namespace weft::scheduler {
namespace {

class Builder {
 public:
  explicit Builder(int world) {
    traffic_.world = world;
    traffic_.groups_of.resize(world);
  }
  /// `bytes` a rank, evenly to the other members.
  void add(TrafficKind kind, std::vector<int> ranks, double bytes) {
    if (ranks.size() < 2 || bytes <= 0) return;
    const int index = static_cast<int>(traffic_.groups.size());
    for (const int rank : ranks) traffic_.groups_of[rank].push_back(index);
    const double each = bytes / static_cast<double>(ranks.size() - 1);
    traffic_.groups.push_back({kind, std::move(ranks), each});
  }
  Traffic done() { return std::move(traffic_); }

 private:
  Traffic traffic_;
};

}  // namespace

const char* to_string(TrafficKind kind) {
  switch (kind) {
    case TrafficKind::Experts:
      return "experts";
    case TrafficKind::Pipeline:
      return "pipeline";
    case TrafficKind::Reduction:
      return "reduction";
  }
  return "?";
}

Traffic traffic_of(const Placement& placement, const TrafficBytes& bytes) {
  const Layout& layout = placement.layout;
  const int lanes = layout.data;
  Builder builder(layout.world());
  for (int p = 0; p < layout.pipeline; ++p)
    for (int first = 0; first < lanes; first += layout.expert) {
      std::vector<int> ranks;
      for (int shard = 0; shard < layout.expert; ++shard)
        ranks.push_back(p * lanes + first + shard);
      builder.add(TrafficKind::Experts, std::move(ranks), bytes.experts);
    }
  for (int p = 0; p + 1 < layout.pipeline; ++p)
    for (int lane = 0; lane < lanes; ++lane)
      builder.add(TrafficKind::Pipeline, {p * lanes + lane, (p + 1) * lanes + lane},
                  bytes.pipeline / 2);
  // Holders of a stage in one pass over the ranks: Placement::holders is a pass a stage.
  std::vector<std::vector<int>> holders(placement.num_stages());
  for (const RankPlace& place : placement.ranks)
    for (const int stage : place.stages) holders[stage].push_back(place.rank);
  // Stages of the same ranks (interleaved schedules, DualPipe's two of a pair) reduce as one. Dense
  // weights go to all holders, experts to those of the same shard.
  const double share = layout.expert > 1 ? bytes.reduction / 2 : bytes.reduction;
  std::set<std::vector<int>> seen;
  for (std::vector<int>& ranks : holders) {
    if (!seen.insert(ranks).second) continue;
    if (layout.expert > 1) {
      std::vector<std::vector<int>> replicas(layout.expert);
      for (const int rank : ranks) replicas[placement.ranks[rank].expert_shard].push_back(rank);
      for (auto& shard : replicas) builder.add(TrafficKind::Reduction, std::move(shard), share);
    }
    builder.add(TrafficKind::Reduction, std::move(ranks), share);
  }
  return builder.done();
}

}  // namespace weft::scheduler

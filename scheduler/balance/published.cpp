#include "scheduler/balance/published.h"

#include <algorithm>
#include <numeric>

namespace weft::scheduler {
namespace {

/// Indices by descending weight; equal weights keep their order.
std::vector<int> heaviest_first(std::span<const float> weight) {
  std::vector<int> order(weight.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int a, int b) { return weight[a] > weight[b]; });
  return order;
}

/// Items of each pack in the order in which pack_evenly put them there.
std::vector<std::vector<int>> contents(std::span<const float> weight, int packs) {
  const std::vector<int> pack_of = pack_evenly(weight, packs);
  std::vector<std::vector<int>> in(packs);
  const bool one_each = std::ssize(weight) == packs;
  if (one_each) {
    for (int i = 0; i < packs; ++i) in[i].push_back(i);
    return in;
  }
  for (const int item : heaviest_first(weight)) in[pack_of[item]].push_back(item);
  return in;
}

struct Replica {
  int expert = 0;
  int index = 0;
};

/// The replicas of one node's experts, spread over its GPUs; appended slot by slot.
void fill_node(std::span<const int> experts, std::span<const float> load, int slots, int gpus,
               LayerReplicas& out) {
  std::vector<float> own(experts.size());
  for (std::size_t i = 0; i < experts.size(); ++i) own[i] = load[experts[i]];
  // The order of slots matters on ties: first one of each expert, then the extra ones as they were
  // given.
  std::vector<Replica> replicas;
  std::vector<int> count(experts.size(), 1);
  for (std::size_t i = 0; i < experts.size(); ++i) replicas.push_back({static_cast<int>(i), 0});
  while (static_cast<int>(replicas.size()) < slots) {
    int most = 0;
    for (int i = 1; i < static_cast<int>(own.size()); ++i)
      if (own[i] / static_cast<float>(count[i]) > own[most] / static_cast<float>(count[most]))
        most = i;
    replicas.push_back({most, count[most]++});
  }
  std::vector<float> share;
  for (const Replica& replica : replicas)
    share.push_back(own[replica.expert] / static_cast<float>(count[replica.expert]));
  for (const std::vector<int>& gpu : contents(share, gpus))
    for (const int item : gpu) {
      out.expert_of.push_back(experts[replicas[item].expert]);
      out.index_of.push_back(replicas[item].index);
    }
}

}  // namespace

std::vector<int> pack_evenly(std::span<const float> weight, int packs) {
  const int capacity = static_cast<int>(weight.size()) / packs;
  std::vector<int> pack_of(weight.size());
  if (capacity == 1) {
    std::iota(pack_of.begin(), pack_of.end(), 0);
    return pack_of;
  }
  std::vector<float> sum(packs, 0.0f);
  std::vector<int> count(packs, 0);
  for (const int item : heaviest_first(weight)) {
    int lightest = -1;
    for (int p = 0; p < packs; ++p)
      if (count[p] < capacity && (lightest < 0 || sum[p] < sum[lightest])) lightest = p;
    pack_of[item] = lightest;
    sum[lightest] += weight[item];
    ++count[lightest];
  }
  return pack_of;
}

LayerReplicas published_placement(std::span<const float> load, const ExpertGrid& grid) {
  const bool hierarchical = grid.keeps_groups_on_nodes();
  const int nodes = hierarchical ? grid.nodes : 1;
  const int groups = hierarchical ? grid.groups : 1;
  const int group_size = grid.experts / groups;
  std::vector<float> group_load(groups, 0.0f);
  for (int e = 0; e < grid.experts; ++e) group_load[e / group_size] += load[e];
  LayerReplicas layer;
  for (const std::vector<int>& members : contents(group_load, nodes)) {
    std::vector<int> experts;
    for (const int group : members)
      for (int i = 0; i < group_size; ++i) experts.push_back(group * group_size + i);
    fill_node(experts, load, grid.replicas / nodes, grid.gpus / nodes, layer);
  }
  return layer;
}

}  // namespace weft::scheduler

#include "scheduler/placement.h"

#include <algorithm>

namespace weft::scheduler {
namespace {

/// `whole`: stages of the pipeline, of which these are the first.
std::vector<int> even(int num_layers, int num_stages, int whole) {
  std::vector<int> count(num_stages, num_stages == 0 ? 0 : num_layers / num_stages);
  // The rest goes to the stages nearest the middle, the earlier of two equals first.
  std::vector<int> order(num_stages);
  for (int s = 0; s < num_stages; ++s) order[s] = s;
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return std::abs(2 * a - (whole - 1)) < std::abs(2 * b - (whole - 1));
  });
  for (int i = 0; num_stages > 0 && i < num_layers % num_stages; ++i) ++count[order[i]];
  return count;
}

std::vector<StageLayers> spread(int num_layers, int num_stages, int next_token) {
  std::vector<int> count = even(num_layers, num_stages, num_stages);
  if (next_token > 0) {
    const int last =
        std::max(1, even(num_layers + next_token, num_stages, num_stages).back() - next_token);
    count = even(num_layers - last, num_stages - 1, num_stages);
    count.push_back(last);
  }
  std::vector<StageLayers> stages;
  int first = 0;
  for (const int n : count) {
    stages.push_back({first, n});
    first += n;
  }
  stages.back().next_token = next_token;
  return stages;
}

Expected<void> check(const Layout& layout, int num_layers) {
  const auto number = [](int n) { return std::to_string(n); };
  if (layout.pipeline < 1 || layout.data < 1 || layout.expert < 1)
    return fail(Code::InvalidArgument, "pipeline, data and expert must all be at least 1");
  if (layout.data % layout.expert != 0)
    return fail(Code::InvalidArgument, "parallel.expert = " + number(layout.expert) +
                                           " must divide parallel.data = " + number(layout.data) +
                                           ": the expert shards are lanes of one stage group");
  WEFT_TRY(dualpipe::check_size(layout.kind, {layout.pipeline, layout.micro_batches}));
  const int num_stages = dualpipe::num_stages(layout.kind, layout.pipeline);
  if (num_layers < num_stages)
    return fail(Code::InvalidArgument, "model.num_hidden_layers = " + number(num_layers) +
                                           " is fewer than the " + number(num_stages) +
                                           " pipeline stages; use at most " + number(num_layers));
  return {};
}

}  // namespace

Expected<Placement> place(const Layout& layout, int num_layers, int next_token) {
  WEFT_TRY(check(layout, num_layers));
  Placement placement;
  placement.layout = layout;
  placement.stages =
      spread(num_layers, dualpipe::num_stages(layout.kind, layout.pipeline), next_token);
  for (int position = 0; position < layout.pipeline; ++position)
    for (int lane = 0; lane < layout.data; ++lane)
      placement.ranks.push_back({position * layout.data + lane, position, lane,
                                 lane % layout.expert,
                                 dualpipe::stages_of(layout.kind, layout.pipeline, position)});
  return placement;
}

std::vector<int> Placement::holders(int stage) const {
  std::vector<int> result;
  for (const RankPlace& place : ranks)
    if (std::ranges::find(place.stages, stage) != place.stages.end()) result.push_back(place.rank);
  return result;
}

std::string world_group() { return "world"; }
std::string pipeline_group(int lane) { return "pipeline.lane" + std::to_string(lane); }
std::string expert_group(int position, int index) {
  return "experts.position" + std::to_string(position) + ".group" + std::to_string(index);
}
std::string dense_group(int stage) { return "dense.stage" + std::to_string(stage); }
std::string replica_group(int stage, int shard) {
  return "experts.stage" + std::to_string(stage) + ".shard" + std::to_string(shard);
}

std::string embedding_group() { return "embedding"; }

std::vector<Group> groups(const Placement& placement) {
  const Layout& layout = placement.layout;
  std::vector<Group> result{{world_group(), {}}};
  for (const RankPlace& place : placement.ranks) result[0].ranks.push_back(place.rank);
  for (int lane = 0; lane < layout.data; ++lane) {
    Group& group = result.emplace_back(Group{pipeline_group(lane), {}});
    for (int p = 0; p < layout.pipeline; ++p) group.ranks.push_back(p * layout.data + lane);
  }
  for (int p = 0; p < layout.pipeline; ++p)
    for (int index = 0; index < layout.data / layout.expert; ++index) {
      Group& group = result.emplace_back(Group{expert_group(p, index), {}});
      for (int shard = 0; shard < layout.expert; ++shard)
        group.ranks.push_back(p * layout.data + index * layout.expert + shard);
    }
  for (int stage = 0; stage < placement.num_stages(); ++stage) {
    const std::vector<int> holders = placement.holders(stage);
    result.push_back({dense_group(stage), holders});
    for (int shard = 0; shard < layout.expert; ++shard) {
      Group& group = result.emplace_back(Group{replica_group(stage, shard), {}});
      for (const int rank : holders)
        if (placement.ranks[rank].expert_shard == shard) group.ranks.push_back(rank);
    }
  }
  if (placement.stages.back().next_token > 0) {
    Group& group = result.emplace_back(Group{embedding_group(), placement.holders(0)});
    for (const int rank : placement.holders(placement.num_stages() - 1))
      if (std::ranges::find(group.ranks, rank) == group.ranks.end()) group.ranks.push_back(rank);
    std::ranges::sort(group.ranks);
  }
  return result;
}

int micro_batch_index(const Layout& layout, int lane, int direction, int index) {
  const int per_direction = layout.micro_batches / dualpipe::num_directions(layout.kind);
  return lane * layout.micro_batches + direction * per_direction + index;
}

}  // namespace weft::scheduler

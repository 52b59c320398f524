// Engine: replicas of busy experts while it generates, and what the experts' loads were.
#include <numeric>

#include "runtime/worker/engine.h"
#include "scheduler/balance/redundant.h"
#include "trainer/model/expert_replicas.h"

namespace weft::runtime {
namespace {

using scheduler::ExpertGrid;
using scheduler::LayerReplicas;

comm::ExpertPlacement as_placement(const LayerReplicas& layer, const ExpertGrid& grid) {
  return {grid.experts,
          grid.gpus,
          grid.slots_per_gpu(),
          {layer.expert_of.begin(), layer.expert_of.end()},
          layer.share_of};
}

/// What the ranks' busiest has over their mean; 0 where nothing was done.
double max_over_mean(std::span<const double> loads) {
  const double sum = std::accumulate(loads.begin(), loads.end(), 0.0);
  return sum > 0 ? std::ranges::max(loads) * static_cast<double>(loads.size()) / sum : 0;
}

}  // namespace

ExpertGrid Engine::replica_grid() const {
  const int experts = options_.model.n_routed_experts, ranks = options_.layout.expert;
  return {experts, experts + ranks * options_.redundant_experts, 1, 1, ranks};
}

bool Engine::takes_replicas() const {
  return options_.redundant_experts > 0 && options_.layout.expert > 1 &&
         options_.model.n_routed_experts > 0 && !expert_loads_.empty();
}

/// Before tokens are generated. The same on all ranks, because the loads are.
Expected<void> Engine::place_replicas() {
  rollout_load_ = {};
  for (HeldStage& held : stages_) held.model->clear_decode_load();
  if (!takes_replicas()) return {};
  const Instant begin = clock_->now();
  const auto place_all = [&]() -> Expected<void> {
    for (HeldStage& held : stages_) WEFT_TRY(place_replicas(held));
    return {};
  };
  WEFT_TRY(dualpipe::at_place(recorder_, dualpipe::Place::Replicas, place_all));
  rollout_load_.seconds = seconds(clock_->now() - begin);
  return {};
}

Expected<void> Engine::place_replicas(HeldStage& held) {
  const ExpertGrid grid = replica_grid();
  trainer::StageModel& model = *held.model;
  const trainer::StageSpec& spec = model.spec();
  if (model.replica_seats() == 0) {
    model.open_replicas(options_.redundant_experts);
    held.replicas.assign(static_cast<std::size_t>(spec.num_layers), {});
  }
  comm::Communicator& group =
      *groups_.at(scheduler::expert_group(place_.position, place_.lane / options_.layout.expert));
  // A rank knows how often its own weights have changed; the others have to be told.
  const std::uint64_t version = model.parameters().version();
  std::vector<std::uint64_t> versions(static_cast<std::size_t>(grid.gpus));
  WEFT_TRY(comm::all_gather(group, std::as_bytes(std::span(&version, 1)),
                            std::as_writable_bytes(std::span(versions))));
  for (int l = 0; l < spec.num_layers; ++l) {
    const int block = spec.first_layer + l;
    if (!options_.model.is_moe(block)) continue;
    HeldReplicas& now = held.replicas[static_cast<std::size_t>(l)];
    const auto loads = std::span(expert_loads_)
                           .subspan(static_cast<std::size_t>(block) * grid.experts, grid.experts);
    WEFT_TRY_ASSIGN(LayerReplicas layer,
                    scheduler::redundant_layer(loads, grid, now.slots ? &*now.slots : nullptr));
    const comm::ExpertPlacement placement = as_placement(layer, grid);
    model.place_replicas(l, placement, group.rank());
    WEFT_TRY(copy_replicas(held, l, placement, versions, group));
    now.slots = std::move(layer);
  }
  return {};
}

/// Weights go from where an expert is at home to the seats that do not have them yet.
Expected<void> Engine::copy_replicas(HeldStage& held, int layer,
                                     const comm::ExpertPlacement& placement,
                                     std::span<const std::uint64_t> versions,
                                     comm::Communicator& group) {
  constexpr comm::Tag kReplica = 15;  // beside the exchanges of the same block
  HeldReplicas& now = held.replicas[static_cast<std::size_t>(layer)];
  now.version.resize(static_cast<std::size_t>(placement.num_seats()), 0);
  std::vector<comm::Request> requests;
  for (int seat = 0; seat < placement.num_seats(); ++seat) {
    const auto at = static_cast<std::size_t>(seat);
    const int expert = placement.expert_of[at];
    if (placement.local_of(seat) < placement.home_seats() || expert < 0) continue;
    ++rollout_load_.replicas;
    const int home = placement.home_rank(expert), to = placement.rank_of(seat);
    const std::uint64_t version = versions[static_cast<std::size_t>(home)];
    if (now.slots && now.slots->expert_of[at] == expert && now.version[at] == version) continue;
    now.version[at] = version;
    const comm::Tag tag = static_cast<comm::Tag>(held.model->spec().first_layer + layer) << 32 |
                          static_cast<comm::Tag>(seat) << 4 | kReplica;
    const auto bytes = [&](int local) {
      return std::as_writable_bytes(held.model->expert_values(layer, local));
    };
    if (group.rank() == to)
      requests.push_back(group.start_receive(home, tag, bytes(placement.local_of(seat))));
    if (group.rank() == home)
      requests.push_back(group.start_send(to, tag, bytes(expert % placement.home_seats())));
    ++rollout_load_.copied;
    rollout_load_.copied_bytes += static_cast<double>(bytes(0).size());
  }
  for (const comm::Request request : requests) WEFT_TRY(group.wait(request));
  return {};
}

void Engine::close_replicas() {
  for (HeldStage& held : stages_) {
    held.model->close_replicas();
    held.replicas.clear();
  }
}

/// After tokens were generated: what the ranks' experts computed, and what those at home would
/// have.
Expected<void> Engine::measure_rollout() {
  const trainer::ModelConfig& model = options_.model;
  const int ranks = options_.layout.expert, experts = model.n_routed_experts;
  if (ranks < 2 || experts == 0) return {};
  const auto blocks = static_cast<std::size_t>(model.num_hidden_layers);
  const std::size_t num_chosen = blocks * static_cast<std::size_t>(experts);
  std::vector<double> sums(num_chosen + blocks * static_cast<std::size_t>(ranks) + 3, 0.0);
  const std::span<double> chosen = std::span(sums).first(num_chosen),
                          served = std::span(sums).subspan(num_chosen),
                          copies = std::span(sums).last(3);
  for (HeldStage& held : stages_) {
    const trainer::StageSpec& spec = held.model->spec();
    for (int l = 0; l < spec.num_layers; ++l) {
      const auto block = static_cast<std::size_t>(spec.first_layer + l);
      const trainer::DecodeLoad& load = held.model->decode_load(l);
      for (std::size_t e = 0; e < load.chosen.size(); ++e)
        chosen[block * static_cast<std::size_t>(experts) + e] += load.chosen[e];
      served[block * static_cast<std::size_t>(ranks) +
             static_cast<std::size_t>(place_.expert_shard)] += load.served;
    }
  }
  if (place_.expert_shard == 0) {  // once an expert group
    copies[0] = rollout_load_.replicas;
    copies[1] = rollout_load_.copied;
    copies[2] = rollout_load_.copied_bytes;
  }
  WEFT_TRY(dualpipe::at_place(recorder_, dualpipe::Place::Replicas,
                              [&] { return comm::all_reduce_sum(*world_, std::span(sums)); }));
  rollout_load_.replicas = static_cast<long long>(copies[0]);
  rollout_load_.copied = static_cast<long long>(copies[1]);
  rollout_load_.copied_bytes = copies[2];
  double home_sum = 0, served_sum = 0;
  int counted = 0;
  for (std::size_t block = 0; block < blocks; ++block) {
    std::vector<double> home(static_cast<std::size_t>(ranks), 0.0);
    for (int e = 0; e < experts; ++e)
      home[static_cast<std::size_t>(e / (experts / ranks))] +=
          chosen[block * static_cast<std::size_t>(experts) + static_cast<std::size_t>(e)];
    const double most = max_over_mean(home);
    if (most == 0) continue;
    home_sum += most;
    served_sum += max_over_mean(
        served.subspan(block * static_cast<std::size_t>(ranks), static_cast<std::size_t>(ranks)));
    ++counted;
  }
  if (counted == 0) return {};
  rollout_load_.home = home_sum / counted;
  rollout_load_.served = served_sum / counted;
  remember_loads(chosen);
  return {};
}

/// Loads of the last steps and rollouts, the older ones half each time.
void Engine::remember_loads(std::span<const double> loads) {
  const auto kept = static_cast<std::size_t>(options_.model.num_hidden_layers) *
                    static_cast<std::size_t>(options_.model.n_routed_experts);
  if (options_.redundant_experts == 0) return;
  expert_loads_.resize(kept, 0.0);
  for (std::size_t i = 0; i < kept; ++i) expert_loads_[i] = expert_loads_[i] / 2 + loads[i];
}

}  // namespace weft::runtime

#include "trainer/model/expert_replicas.h"

#include "base/check.h"
#include "trainer/model/stage_base.h"

namespace weft::trainer {

std::span<Real> expert_values(ParameterSet& set, const MlpWeights& expert) {
  const auto first = static_cast<std::size_t>(expert.gate_up.offset);
  const auto size = static_cast<std::size_t>(expert.gate_up.out) * expert.gate_up.in +
                    static_cast<std::size_t>(expert.down.out) * expert.down.in;
  WEFT_CHECK(expert.down.offset + std::int64_t{expert.down.out} * expert.down.in ==
                 expert.gate_up.offset + static_cast<std::int64_t>(size),
             "an expert's matrices lie one behind the other");
  return set.values().subspan(first, size);
}

void StageModel::open_replicas(int seats) {
  close_replicas();
  if (!impl_->exchange || seats == 0) return;
  const ModelConfig& c = impl_->config;
  auto replicas = std::make_unique<ExpertReplicas>(impl_->linear.precision(), impl_->linear.fp8());
  replicas->seats = seats;
  for (int l = 0; l < impl_->spec.num_layers; ++l) {
    LayerReplicas& layer = replicas->layers.emplace_back();
    if (c.is_moe(impl_->spec.first_layer + l))
      layer.seats = add_replicas(c, impl_->spec.first_layer + l, seats, replicas->set);
  }
  replicas->set.allocate(ParameterSet::Buffers::Values);
  impl_->exchange->open_replicas(seats);
  impl_->replicas = std::move(replicas);
}

void StageModel::close_replicas() {
  if (impl_->replicas == nullptr) return;
  impl_->exchange->close_replicas();
  impl_->replicas.reset();
}

int StageModel::replica_seats() const {
  return impl_->replicas == nullptr ? 0 : impl_->replicas->seats;
}

void StageModel::place_replicas(int layer, const comm::ExpertPlacement& placement, int rank) {
  WEFT_CHECK(impl_->replicas != nullptr, "replicas are opened first");
  WEFT_CHECK(
      placement.num_experts == impl_->config.n_routed_experts &&
          placement.seats_per_rank == impl_->exchange->num_local_experts() + impl_->replicas->seats,
      "a placement for other seats");
  LayerReplicas& at = impl_->replicas->layers.at(static_cast<std::size_t>(layer));
  at.placement = placement;
  at.picker.emplace(placement, rank, impl_->nodes);
  impl_->replicas->set.touch();
}

std::span<Real> StageModel::expert_values(int layer, int seat) {
  const auto l = static_cast<std::size_t>(layer);
  std::vector<MlpWeights>& home = impl_->weights.layers.at(l).experts;
  if (seat < static_cast<int>(home.size()))
    return trainer::expert_values(impl_->set, home.at(static_cast<std::size_t>(seat)));
  return trainer::expert_values(
      impl_->replicas->set,
      impl_->replicas->layers.at(l).seats.at(static_cast<std::size_t>(seat) - home.size()));
}

const DecodeLoad& StageModel::decode_load(int layer) const {
  return impl_->decode_load.at(static_cast<std::size_t>(layer));
}

void StageModel::clear_decode_load() {
  for (DecodeLoad& load : impl_->decode_load) {
    std::fill(load.chosen.begin(), load.chosen.end(), 0.0);
    load.served = 0;
  }
}

}  // namespace weft::trainer

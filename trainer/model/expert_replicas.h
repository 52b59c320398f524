// Copies of experts whose home is on another rank: what a stage holds of them while it decodes, and
// how many tokens went where.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "comm/exchange/expert_placement.h"
#include "trainer/model/linear.h"
#include "trainer/model/parameters.h"
#include "trainer/model/weights.h"

namespace weft::trainer {

/// One MoE layer's replicas on this rank, and who takes what in its expert group.
struct LayerReplicas {
  comm::ExpertPlacement placement;
  std::optional<comm::ReplicaPicker> picker;  // none: this layer decodes without replicas
  std::vector<MlpWeights> seats;              // behind those of the experts at home
};

struct ExpertReplicas {
  ExpertReplicas(Precision precision, const Fp8Options& fp8) : linear(set, precision, fp8) {}
  ExpertReplicas(const ExpertReplicas&) = delete;
  ExpertReplicas& operator=(const ExpertReplicas&) = delete;

  ParameterSet set;  // values only
  Linear linear;
  int seats = 0;                      // of a MoE layer
  std::vector<LayerReplicas> layers;  // dense ones have no seats
};

/// What Decode passes counted of one MoE layer.
struct DecodeLoad {
  std::vector<double> chosen;  // [n_routed_experts] choices of this rank's own tokens
  double served = 0;           // choices that this rank's experts and replicas computed
};

/// Adds the parameters of `count` seats of a layer.
std::vector<MlpWeights> add_replicas(const ModelConfig& config, int layer, int count,
                                     ParameterSet& set);
/// All values of an expert, which lie one behind the other.
std::span<Real> expert_values(ParameterSet& set, const MlpWeights& expert);

}  // namespace weft::trainer

// Which parameters a stage has and where each layer finds its own.
#pragma once

#include <vector>

#include "trainer/model/config.h"
#include "trainer/model/linear.h"
#include "trainer/model/parameters.h"
#include "trainer/model/stage_model.h"

namespace weft::trainer {

struct Vector1 {
  int size = 0;
  std::int64_t offset = -1;
};

struct MlpWeights {
  int width = 0;
  Matrix gate_up, down;
};

struct LayerWeights {
  bool moe = false;
  Vector1 norm1, norm2, q_norm, kv_norm, selection_bias;
  Matrix q_down, q_up, kv_down, kv_up, out;  // q_up: q_proj where there is no low rank
  Matrix gate;
  MlpWeights mlp;                   // dense layers' or shared experts'
  std::vector<MlpWeights> experts;  // this rank's
};

struct StageWeights {
  Matrix embedding, head;
  Vector1 norm;
  std::vector<LayerWeights> layers;
};

/// Adds the stage's parameters to `set` in the order of the checkpoint and allocates them.
StageWeights add_parameters(const ModelConfig& config, const StageSpec& spec, int first_expert,
                            int num_experts, ParameterSet& set);

}  // namespace weft::trainer

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
  // Grouped-query: q_up is q_proj; q_norm and kv_norm are over each head's query and key.
  Matrix k, v;
  Vector1 q_bias, k_bias, v_bias;
  /// Elements of the attention's own norms and biases.
  int attention_gains() const {
    return q_norm.size + kv_norm.size + q_bias.size + k_bias.size + v_bias.size;
  }
  Matrix gate;
  MlpWeights mlp;                   // dense layers' or shared experts'
  std::vector<MlpWeights> experts;  // this rank's
};

struct StageWeights {
  Matrix embedding, head;
  Vector1 norm;
  std::vector<LayerWeights> layers;
  // A multi-token prediction module's: norms of the embedding and of the hidden state, projection
  // of the two side by side.
  Vector1 enorm, hnorm;
  Matrix eh_proj;
};

/// Adds the stage's parameters to `set` in the order of the checkpoint. `embedding`: with a table.
StageWeights add_parameters(const ModelConfig& config, const StageSpec& spec, bool embedding,
                            int first_expert, int num_experts, ParameterSet& set);
/// The same for a multi-token prediction module: spec.first_layer is its one block. Embedding and
/// head are those of the model.
StageWeights add_module_parameters(const ModelConfig& config, const StageSpec& spec,
                                   int first_expert, int num_experts, ParameterSet& set);

}  // namespace weft::trainer

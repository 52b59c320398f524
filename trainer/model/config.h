// The shape of a DeepSeek-V3-shaped model, with the field names of its Hugging Face config.json.
#pragma once

#include <string>
#include <vector>

#include "base/expected.h"

namespace weft::trainer {

struct ModelConfig {
  int vocab_size = 384;
  int hidden_size = 128;
  int intermediate_size = 256;     // of dense layers
  int moe_intermediate_size = 64;  // of one expert
  int num_hidden_layers = 2;
  int first_k_dense_replace = 1;  // so many first layers are dense
  int num_attention_heads = 8;
  int n_shared_experts = 1;
  int n_routed_experts = 8;
  int num_experts_per_tok = 2;
  int n_group = 2;     // expert groups; a group's score is the sum of its two best
  int topk_group = 2;  // groups that may be chosen from
  double routed_scaling_factor = 1.0;
  bool norm_topk_prob = true;
  int q_lora_rank = 64;  // 0: queries without low-rank projection
  int kv_lora_rank = 64;
  int qk_nope_head_dim = 16;
  int qk_rope_head_dim = 8;
  int v_head_dim = 16;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  int num_nextn_predict_layers = 0;  // multi-token prediction modules
  int max_position_embeddings = 256;
  double initializer_range = 0.02;

  bool is_moe(int layer) const { return layer >= first_k_dense_replace; }
  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

/// Every contradiction at once, each naming the fields involved; empty when fine.
std::vector<std::string> problems(const ModelConfig& config);

/// Parameters in all and those that one token uses (embedding and head included).
struct ParameterCount {
  long long total = 0;
  long long active = 0;
};
ParameterCount count_parameters(const ModelConfig& config);
/// Multiply-adds x 2 of one token's forward pass at this context length (causal: half of it is
/// seen on average); training is three times that.
double forward_flops_per_token(const ModelConfig& config, int context);

}  // namespace weft::trainer

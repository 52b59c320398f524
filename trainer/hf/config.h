// A model as a Hugging Face config.json describes it: DeepSeek-V3-shaped mixtures of experts, and
// dense models with grouped-query attention (distillation students). Shapes and rules only; no
// weights.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"

namespace weft::trainer::hf {

/// Rotary positions stretched beyond the context that a model was trained on.
/// Source: YaRN (arXiv 2309.00071); names as in config.json's rope_scaling.
struct Yarn {
  double factor = 1;
  double beta_fast = 32, beta_slow = 1;
  double mscale = 1, mscale_all_dim = 0;
  int original_max_position_embeddings = 4096;
  friend bool operator==(const Yarn&, const Yarn&) = default;
};

/// Field names as in config.json where it has them.
struct Config {
  std::string model_type;  // deepseek_v3, deepseek_v2-shaped relatives, llama, qwen2, qwen3
  int vocab_size = 0;
  int hidden_size = 0;
  int intermediate_size = 0;
  int num_hidden_layers = 0;
  int max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  std::optional<Yarn> yarn;
  double initializer_range = 0.02;
  bool tie_word_embeddings = false;
  std::string dtype = "bfloat16";

  // Attention: latent (MLA) when kv_lora_rank > 0, else grouped-query.
  int num_attention_heads = 0;
  int num_key_value_heads = 0;  // grouped-query
  int head_dim = 0;             // grouped-query
  bool attention_bias = false;  // on q, k and v
  bool qk_norm = false;         // an RMSNorm over each head's query and key (qwen3)
  int q_lora_rank = 0;          // 0: queries without a low-rank projection
  int kv_lora_rank = 0;
  int qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;

  // Experts: none when n_routed_experts is 0.
  int moe_intermediate_size = 0;
  int first_k_dense_replace = 0;
  int n_routed_experts = 0, n_shared_experts = 0, num_experts_per_tok = 0;
  int n_group = 1, topk_group = 1;
  double routed_scaling_factor = 1;
  bool norm_topk_prob = true;
  bool selection_bias = true;  // topk_method noaux_tc
  double aux_loss_alpha = 0;

  int num_nextn_predict_layers = 0;               // multi-token prediction depth
  int fp8_block_rows = 0, fp8_block_columns = 0;  // quantization_config; 0: none

  bool latent_attention() const { return kv_lora_rank > 0; }
  bool is_moe(int layer) const { return n_routed_experts > 0 && layer >= first_k_dense_replace; }
  friend bool operator==(const Config&, const Config&) = default;
};

struct Parsed {
  Config config;
  std::vector<std::string> warnings;  // a field each: not understood, or without effect here
};

/// Reads the text of a config.json. `name` is for messages.
/// Errors: InvalidArgument with every problem at once, a line each: no JSON, duplicate keys, a
/// missing field, a value of the wrong kind or range, fields that contradict each other, a kind of
/// model that is not one of the above.
Expected<Parsed> parse_config(std::string_view text, const std::string& name);

}  // namespace weft::trainer::hf

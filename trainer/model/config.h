// The one description of a model: DeepSeek-V3-shaped mixtures of experts, and dense models with
// grouped-query attention (distillation students). Field names are those of Hugging Face's
// config.json where it has them. Job files give it field by field, trainer/hf/config reads and
// writes config.json, everything else takes it as it is. Shapes and rules only.
#pragma once

#include <string>
#include <vector>

namespace weft::trainer {

/// Rotary positions stretched beyond the context that a model was trained on; factor 1 changes
/// nothing, exactly. Source: YaRN (arXiv 2309.00071); names as in config.json's rope_scaling.
struct Yarn {
  double factor = 1;
  double beta_fast = 32, beta_slow = 1;  // turns within the original context: kept, stretched
  double mscale = 1, mscale_all_dim = 0;
  int original_max_position_embeddings = 4096;
  bool active() const { return factor > 1; }
  friend bool operator==(const Yarn&, const Yarn&) = default;
};

/// The defaults are a small model that a laptop trains.
struct ModelConfig {
  std::string model_type = "deepseek_v3";  // or llama, qwen2, qwen3: grouped-query and dense
  int vocab_size = 384;
  int hidden_size = 128;
  int intermediate_size = 256;  // of dense layers
  int num_hidden_layers = 2;
  int max_position_embeddings = 256;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  Yarn yarn;
  double initializer_range = 0.02;
  bool tie_word_embeddings = false;  // the head is the embedding's matrix

  // Attention: latent (MLA) when kv_lora_rank > 0, else grouped-query.
  int num_attention_heads = 8;
  int q_lora_rank = 64;  // 0: queries without low-rank projection
  int kv_lora_rank = 64;
  int qk_nope_head_dim = 16;
  int qk_rope_head_dim = 8;
  int v_head_dim = 16;
  int num_key_value_heads = 0;  // grouped-query only, as are the next three
  int head_dim = 0;
  bool attention_bias = false;  // on queries, keys and values
  bool qk_norm = false;         // an RMSNorm over each head's query and key (qwen3)

  // Experts: none when n_routed_experts is 0.
  int moe_intermediate_size = 64;  // of one expert
  int first_k_dense_replace = 1;   // so many first layers are dense
  int n_shared_experts = 1;
  int n_routed_experts = 8;
  int num_experts_per_tok = 2;
  int n_group = 2;     // expert groups; a group's score is the sum of its two best
  int topk_group = 2;  // groups that may be chosen from
  double routed_scaling_factor = 1.0;
  bool norm_topk_prob = true;
  bool selection_bias = true;  // topk_method noaux_tc; without it a group's score is its best
  double aux_loss_alpha = 0;   // of the sequence-wise balance loss

  int num_nextn_predict_layers = 0;  // depth of multi-token prediction

  // How a checkpoint stores the weights; nothing here computes by it.
  std::string dtype = "bfloat16";                 // or float32, float16
  int fp8_block_rows = 0, fp8_block_columns = 0;  // quantization_config; 0: none

  bool latent_attention() const { return kv_lora_rank > 0; }
  bool is_moe(int layer) const { return n_routed_experts > 0 && layer >= first_k_dense_replace; }
  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

/// Every contradiction at once, each starting with one of the fields involved and naming all;
/// empty when fine.
std::vector<std::string> problems(const ModelConfig& config);

/// Names of fields that nothing reads in such a model: those of the other kind of attention, and
/// those of experts where there are none.
std::vector<std::string> without_effect(const ModelConfig& config);

}  // namespace weft::trainer

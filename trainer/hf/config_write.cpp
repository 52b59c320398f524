#include <fmt/format.h>

#include "trainer/hf/config.h"

namespace weft::trainer::hf {
namespace {

/// One JSON object, a member a line. Keys and texts are words that need no escaping.
class Object {
 public:
  Object& add(std::string_view key, int value) { return raw(key, std::to_string(value)); }
  Object& add(std::string_view key, bool value) { return raw(key, value ? "true" : "false"); }
  Object& add(std::string_view key, double value) {
    return raw(key, fmt::format("{}", value));  // the shortest that reads back as the same number
  }
  Object& add(std::string_view key, std::string_view word) {
    return raw(key, fmt::format("\"{}\"", word));
  }
  Object& add(std::string_view key, const char* word) { return add(key, std::string_view(word)); }
  Object& raw(std::string_view key, const std::string& value) {
    members_ += fmt::format("{}\n  \"{}\": {}", members_.empty() ? "" : ",", key, value);
    return *this;
  }
  std::string text() const { return "{" + members_ + "\n}\n"; }
  /// As a value inside another one.
  std::string nested() const {
    std::string out;
    for (const char c : "{" + members_ + "\n}") {
      out += c;
      if (c == '\n') out += "  ";
    }
    return out;
  }

 private:
  std::string members_;
};

std::string_view architecture(const ModelConfig& c) {
  if (c.model_type == "llama") return "LlamaForCausalLM";
  if (c.model_type == "qwen2") return "Qwen2ForCausalLM";
  if (c.model_type == "qwen3") return "Qwen3ForCausalLM";
  return "DeepseekV3ForCausalLM";
}

void add_latent_attention(Object& out, const ModelConfig& c) {
  out.add("num_key_value_heads", c.num_attention_heads);
  if (c.q_lora_rank > 0)
    out.add("q_lora_rank", c.q_lora_rank);
  else
    out.raw("q_lora_rank", "null");
  out.add("kv_lora_rank", c.kv_lora_rank)
      .add("qk_nope_head_dim", c.qk_nope_head_dim)
      .add("qk_rope_head_dim", c.qk_rope_head_dim)
      .add("v_head_dim", c.v_head_dim);
}

void add_grouped_attention(Object& out, const ModelConfig& c) {
  out.add("num_key_value_heads", c.num_key_value_heads).add("head_dim", c.head_dim);
}

void add_experts(Object& out, const ModelConfig& c) {
  if (c.n_routed_experts == 0) {
    out.add("first_k_dense_replace", c.num_hidden_layers);  // so says transformers "all dense"
    return;
  }
  out.add("moe_intermediate_size", c.moe_intermediate_size)
      .add("first_k_dense_replace", c.first_k_dense_replace)
      .add("moe_layer_freq", 1)
      .add("n_shared_experts", c.n_shared_experts)
      .add("n_routed_experts", c.n_routed_experts)
      .add("num_experts_per_tok", c.num_experts_per_tok)
      .add("n_group", c.n_group)
      .add("topk_group", c.topk_group)
      .add("topk_method", c.selection_bias ? "noaux_tc" : "group_limited_greedy")
      .add("scoring_func", "sigmoid")
      .add("norm_topk_prob", c.norm_topk_prob)
      .add("routed_scaling_factor", c.routed_scaling_factor)
      .add("aux_loss_alpha", c.aux_loss_alpha)
      .add("seq_aux", true);
}

/// The form before transformers 5, which also reads it.
std::string rope_scaling(const Yarn& yarn) {
  return Object()
      .add("type", "yarn")
      .add("factor", yarn.factor)
      .add("beta_fast", yarn.beta_fast)
      .add("beta_slow", yarn.beta_slow)
      .add("mscale", yarn.mscale)
      .add("mscale_all_dim", yarn.mscale_all_dim)
      .add("original_max_position_embeddings", yarn.original_max_position_embeddings)
      .nested();
}

}  // namespace

std::string write_config(const ModelConfig& c, const TokenIds& ids) {
  Object out;
  out.raw("architectures", fmt::format("[\"{}\"]", architecture(c)))
      .add("model_type", c.model_type)
      .add("vocab_size", c.vocab_size)
      .add("hidden_size", c.hidden_size);
  if (c.intermediate_size > 0) out.add("intermediate_size", c.intermediate_size);
  out.add("num_hidden_layers", c.num_hidden_layers)
      .add("num_attention_heads", c.num_attention_heads);
  c.latent_attention() ? add_latent_attention(out, c) : add_grouped_attention(out, c);
  if (c.latent_attention()) {
    add_experts(out, c);
    out.add("num_nextn_predict_layers", c.num_nextn_predict_layers);
  }
  out.add("hidden_act", "silu").add("rms_norm_eps", c.rms_norm_eps).add("rope_theta", c.rope_theta);
  if (c.yarn.active()) out.raw("rope_scaling", rope_scaling(c.yarn));
  out.add("max_position_embeddings", c.max_position_embeddings)
      .add("initializer_range", c.initializer_range)
      .add("tie_word_embeddings", c.tie_word_embeddings)
      .add("attention_bias", c.attention_bias)
      .add("attention_dropout", 0.0);
  if (ids.bos >= 0) out.add("bos_token_id", ids.bos);
  if (ids.eos >= 0) out.add("eos_token_id", ids.eos);
  if (ids.pad >= 0) out.add("pad_token_id", ids.pad);
  out.add("use_cache", true).add("torch_dtype", c.dtype);
  if (c.fp8_block_rows > 0)
    out.raw("quantization_config",
            Object()
                .add("quant_method", "fp8")
                .add("fmt", "e4m3")
                .add("activation_scheme", "dynamic")
                .raw("weight_block_size",
                     fmt::format("[{}, {}]", c.fp8_block_rows, c.fp8_block_columns))
                .nested());
  return out.text();
}

}  // namespace weft::trainer::hf

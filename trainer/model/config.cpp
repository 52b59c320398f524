#include "trainer/model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace weft::trainer {

namespace {

constexpr long long kWidthMax = 1 << 24;  // of any matrix; offsets then fit 64 bits

class Rules {
 public:
  explicit Rules(const ModelConfig& config) : c_(config) {}

  std::vector<std::string> check() {
    check_common();
    c_.latent_attention() ? check_latent_attention() : check_grouped_attention();
    check_type();
    if (c_.n_routed_experts > 0) check_experts();
    check_yarn();
    return std::move(out_);
  }

 private:
  void at_least(const char* name, int value, int low) {
    if (value < low)
      out_.push_back(fmt::format("{} is {}: it must be at least {}", name, value, low));
  }
  void positive(const char* name, double value) {
    if (!(value > 0) || !std::isfinite(value))
      out_.push_back(fmt::format("{} is {}: it must be positive", name, value));
  }
  void not_negative(const char* name, double value) {
    if (!(value >= 0) || !std::isfinite(value))
      out_.push_back(fmt::format("{} is {}: it must not be negative", name, value));
  }
  void fits(const char* fields, long long width) {
    if (width > kWidthMax)
      out_.push_back(fmt::format("{} make a matrix {} wide: at most {}", fields, width, kWidthMax));
  }

  void check_common() {
    at_least("vocab_size", c_.vocab_size, 1);
    at_least("hidden_size", c_.hidden_size, 1);
    at_least("num_hidden_layers", c_.num_hidden_layers, 1);
    at_least("num_attention_heads", c_.num_attention_heads, 1);
    at_least("max_position_embeddings", c_.max_position_embeddings, 1);
    at_least("n_routed_experts", c_.n_routed_experts, 0);
    at_least("num_nextn_predict_layers", c_.num_nextn_predict_layers, 0);
    if (c_.n_routed_experts <= 0 || c_.first_k_dense_replace > 0)
      at_least("intermediate_size", c_.intermediate_size, 1);
    positive("rms_norm_eps", c_.rms_norm_eps);
    positive("rope_theta", c_.rope_theta);
    not_negative("initializer_range", c_.initializer_range);
  }

  void check_latent_attention() {
    at_least("q_lora_rank", c_.q_lora_rank, 0);
    at_least("qk_nope_head_dim", c_.qk_nope_head_dim, 1);
    at_least("qk_rope_head_dim", c_.qk_rope_head_dim, 1);
    at_least("v_head_dim", c_.v_head_dim, 1);
    if (c_.qk_rope_head_dim % 2 != 0)
      out_.push_back(fmt::format("qk_rope_head_dim ({}) is odd: rotary positions turn pairs",
                                 c_.qk_rope_head_dim));
    fits("num_attention_heads, qk_nope_head_dim, qk_rope_head_dim and v_head_dim",
         1LL * c_.num_attention_heads *
             std::max({1LL * c_.qk_nope_head_dim + c_.qk_rope_head_dim,
                       1LL * c_.qk_nope_head_dim + c_.v_head_dim}));
    if (c_.attention_bias || c_.qk_norm)
      out_.push_back(fmt::format("{} is true: only grouped-query attention (kv_lora_rank 0) has it",
                                 c_.attention_bias ? "attention_bias" : "qk_norm"));
  }

  void check_grouped_attention() {
    at_least("kv_lora_rank", c_.kv_lora_rank, 0);
    at_least("num_key_value_heads", c_.num_key_value_heads, 1);
    at_least("head_dim", c_.head_dim, 2);
    if (c_.head_dim % 2 != 0)
      out_.push_back(fmt::format("head_dim ({}) is odd: rotary positions turn pairs", c_.head_dim));
    if (c_.num_key_value_heads > 0 && c_.num_attention_heads % c_.num_key_value_heads != 0)
      out_.push_back(
          fmt::format("num_attention_heads ({}) is not divisible by num_key_value_heads ({})",
                      c_.num_attention_heads, c_.num_key_value_heads));
    fits("num_attention_heads and head_dim", 1LL * c_.num_attention_heads * c_.head_dim);
    if (c_.n_routed_experts > 0)
      out_.push_back(
          fmt::format("n_routed_experts is {}: experts come with latent attention, and "
                      "kv_lora_rank is 0",
                      c_.n_routed_experts));
    if (c_.num_nextn_predict_layers > 0)
      out_.push_back(
          fmt::format("num_nextn_predict_layers is {}: next-token modules come with latent "
                      "attention, and kv_lora_rank is 0",
                      c_.num_nextn_predict_layers));
  }

  /// What a type's own code would compute: a config.json of that type cannot say anything else.
  void check_type() {
    constexpr std::array<std::string_view, 4> kTypes = {"deepseek_v3", "llama", "qwen2", "qwen3"};
    if (std::ranges::find(kTypes, c_.model_type) == kTypes.end()) {
      out_.push_back(
          fmt::format("model_type is \"{}\": one of {}", c_.model_type, fmt::join(kTypes, ", ")));
      return;
    }
    const bool deepseek = c_.model_type == "deepseek_v3";
    if (deepseek != c_.latent_attention()) {
      out_.push_back(deepseek ? "model_type deepseek_v3 has latent attention, and kv_lora_rank is 0"
                              : fmt::format("model_type {} has grouped-query attention, and "
                                            "kv_lora_rank is {}",
                                            c_.model_type, c_.kv_lora_rank));
      return;
    }
    if (deepseek) return;
    const auto only = [&](const char* field, bool value, bool only_value, std::string_view why) {
      if (value != only_value)
        out_.push_back(fmt::format("{} is {}: model_type {} {}", field, value, c_.model_type, why));
    };
    if (c_.model_type == "qwen2")
      only("attention_bias", c_.attention_bias, true, "always has it");
    else
      only("attention_bias", c_.attention_bias, false,
           "puts it on the output projection too, which is not built here");
    only("qk_norm", c_.qk_norm, c_.model_type == "qwen3",
         c_.model_type == "qwen3" ? "always has it" : "never has it");
  }

  void check_experts() {
    at_least("moe_intermediate_size", c_.moe_intermediate_size, 1);
    at_least("num_experts_per_tok", c_.num_experts_per_tok, 1);
    at_least("n_group", c_.n_group, 1);
    at_least("topk_group", c_.topk_group, 1);
    at_least("n_shared_experts", c_.n_shared_experts, 0);
    at_least("first_k_dense_replace", c_.first_k_dense_replace, 0);
    positive("routed_scaling_factor", c_.routed_scaling_factor);
    not_negative("aux_loss_alpha", c_.aux_loss_alpha);
    if (c_.first_k_dense_replace > c_.num_hidden_layers)
      out_.push_back(fmt::format("first_k_dense_replace ({}) is larger than num_hidden_layers ({})",
                                 c_.first_k_dense_replace, c_.num_hidden_layers));
    fits("n_shared_experts and moe_intermediate_size",
         1LL * c_.n_shared_experts * c_.moe_intermediate_size);
    check_groups();
  }

  void check_groups() {
    if (c_.n_group < 1) return;
    if (c_.n_routed_experts % c_.n_group != 0) {
      out_.push_back(fmt::format("n_routed_experts ({}) is not divisible by n_group ({})",
                                 c_.n_routed_experts, c_.n_group));
      return;
    }
    if (c_.topk_group > c_.n_group) {
      out_.push_back(
          fmt::format("topk_group ({}) is larger than n_group ({})", c_.topk_group, c_.n_group));
      return;
    }
    const int eligible = c_.n_routed_experts / c_.n_group * c_.topk_group;
    if (c_.num_experts_per_tok > eligible)
      out_.push_back(fmt::format(
          "num_experts_per_tok ({}) is larger than the {} experts in topk_group ({}) groups",
          c_.num_experts_per_tok, eligible, c_.topk_group));
  }

  void check_yarn() {
    const Yarn& y = c_.yarn;
    if (!(y.factor >= 1) || !std::isfinite(y.factor))
      out_.push_back(fmt::format("yarn_factor is {}: it must be at least 1", y.factor));
    if (!y.active()) return;
    if (!(c_.rope_theta > 1))
      out_.push_back(
          fmt::format("rope_theta is {}: with YaRN it must be more than 1", c_.rope_theta));
    positive("yarn_beta_slow", y.beta_slow);
    not_negative("yarn_mscale", y.mscale);
    not_negative("yarn_mscale_all_dim", y.mscale_all_dim);
    at_least("yarn_original_max_position_embeddings", y.original_max_position_embeddings, 1);
    if (!(y.beta_fast >= y.beta_slow))
      out_.push_back(
          fmt::format("yarn_beta_fast ({}) is less than yarn_beta_slow ({}): pairs that turn often "
                      "are the ones that are kept",
                      y.beta_fast, y.beta_slow));
  }

  const ModelConfig& c_;
  std::vector<std::string> out_;
};

}  // namespace

std::vector<std::string> problems(const ModelConfig& config) { return Rules(config).check(); }

std::vector<std::string> without_effect(const ModelConfig& c) {
  std::vector<std::string> out;
  const auto add = [&](std::initializer_list<const char*> names) {
    out.insert(out.end(), names.begin(), names.end());
  };
  if (c.latent_attention())
    add({"num_key_value_heads", "head_dim"});
  else
    add({"q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"});
  if (!c.yarn.active())
    add({"yarn_beta_fast", "yarn_beta_slow", "yarn_mscale", "yarn_mscale_all_dim",
         "yarn_original_max_position_embeddings"});
  if (c.n_routed_experts == 0)
    add({"moe_intermediate_size", "first_k_dense_replace", "n_shared_experts",
         "num_experts_per_tok", "n_group", "topk_group", "routed_scaling_factor", "norm_topk_prob",
         "selection_bias", "aux_loss_alpha"});
  else if (c.first_k_dense_replace == 0)
    add({"intermediate_size"});
  return out;
}

}  // namespace weft::trainer

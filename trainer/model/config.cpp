#include "trainer/model/config.h"

#include <fmt/format.h>

namespace weft::trainer {

namespace {

void check_positive(const ModelConfig& c, std::vector<std::string>& out) {
  const std::pair<const char*, int> fields[] = {
      {"vocab_size", c.vocab_size},
      {"hidden_size", c.hidden_size},
      {"intermediate_size", c.intermediate_size},
      {"moe_intermediate_size", c.moe_intermediate_size},
      {"num_hidden_layers", c.num_hidden_layers},
      {"num_attention_heads", c.num_attention_heads},
      {"n_routed_experts", c.n_routed_experts},
      {"num_experts_per_tok", c.num_experts_per_tok},
      {"n_group", c.n_group},
      {"topk_group", c.topk_group},
      {"kv_lora_rank", c.kv_lora_rank},
      {"qk_nope_head_dim", c.qk_nope_head_dim},
      {"qk_rope_head_dim", c.qk_rope_head_dim},
      {"v_head_dim", c.v_head_dim},
      {"max_position_embeddings", c.max_position_embeddings}};
  for (const auto& [name, value] : fields) {
    if (value < 1) out.push_back(fmt::format("{} is {}: it must be at least 1", name, value));
  }
  const std::pair<const char*, int> counts[] = {{"q_lora_rank", c.q_lora_rank},
                                                {"n_shared_experts", c.n_shared_experts},
                                                {"first_k_dense_replace", c.first_k_dense_replace}};
  for (const auto& [name, value] : counts) {
    if (value < 0) out.push_back(fmt::format("{} is {}: it must not be negative", name, value));
  }
  const std::pair<const char*, double> reals[] = {
      {"rms_norm_eps", c.rms_norm_eps},
      {"rope_theta", c.rope_theta},
      {"routed_scaling_factor", c.routed_scaling_factor}};
  for (const auto& [name, value] : reals) {
    if (!(value > 0)) out.push_back(fmt::format("{} is {}: it must be positive", name, value));
  }
  if (!(c.initializer_range >= 0)) {
    out.push_back(
        fmt::format("initializer_range is {}: it must not be negative", c.initializer_range));
  }
}

void check_groups(const ModelConfig& c, std::vector<std::string>& out) {
  if (c.n_group < 1 || c.n_routed_experts < 1) return;
  if (c.n_routed_experts % c.n_group != 0) {
    out.push_back(fmt::format("n_routed_experts ({}) is not divisible by n_group ({})",
                              c.n_routed_experts, c.n_group));
    return;
  }
  if (c.topk_group > c.n_group) {
    out.push_back(
        fmt::format("topk_group ({}) is larger than n_group ({})", c.topk_group, c.n_group));
    return;
  }
  const int eligible = c.n_routed_experts / c.n_group * c.topk_group;
  if (c.num_experts_per_tok > eligible) {
    out.push_back(fmt::format(
        "num_experts_per_tok ({}) is larger than the {} experts in topk_group ({}) groups",
        c.num_experts_per_tok, eligible, c.topk_group));
  }
}

long long attention_parameters(const ModelConfig& c) {
  const long long d = c.hidden_size, heads = c.num_attention_heads;
  const long long q_dim = heads * (c.qk_nope_head_dim + c.qk_rope_head_dim);
  const long long q =
      c.q_lora_rank > 0 ? (d + q_dim + 1) * static_cast<long long>(c.q_lora_rank) : d * q_dim;
  const long long kv = d * (c.kv_lora_rank + c.qk_rope_head_dim) + c.kv_lora_rank +
                       c.kv_lora_rank * heads * (c.qk_nope_head_dim + c.v_head_dim);
  return q + kv + heads * c.v_head_dim * d;
}

long long mlp_parameters(const ModelConfig& c, long long width) {
  return 3 * width * c.hidden_size;
}

}  // namespace

std::vector<std::string> problems(const ModelConfig& config) {
  std::vector<std::string> out;
  check_positive(config, out);
  check_groups(config, out);
  if (config.qk_rope_head_dim % 2 != 0) {
    out.push_back(fmt::format("qk_rope_head_dim ({}) is odd: rotary positions turn pairs",
                              config.qk_rope_head_dim));
  }
  if (config.first_k_dense_replace > config.num_hidden_layers) {
    out.push_back(fmt::format("first_k_dense_replace ({}) is larger than num_hidden_layers ({})",
                              config.first_k_dense_replace, config.num_hidden_layers));
  }
  return out;
}

ParameterCount count_parameters(const ModelConfig& c) {
  const long long d = c.hidden_size;
  ParameterCount count;
  const long long edges = 2LL * c.vocab_size * d + d;
  count.total = count.active = edges;
  for (int layer = 0; layer < c.num_hidden_layers; ++layer) {
    const long long common = attention_parameters(c) + 2 * d;
    count.total += common;
    count.active += common;
    if (!c.is_moe(layer)) {
      count.total += mlp_parameters(c, c.intermediate_size);
      count.active += mlp_parameters(c, c.intermediate_size);
      continue;
    }
    const long long expert = mlp_parameters(c, c.moe_intermediate_size);
    const long long always = (d + 1) * c.n_routed_experts + expert * c.n_shared_experts;
    count.total += always + expert * c.n_routed_experts;
    count.active += always + expert * c.num_experts_per_tok;
  }
  return count;
}

double forward_flops_per_token(const ModelConfig& c, int context) {
  // Every active parameter but the embedding's is used in one multiply-add.
  const auto embedding = static_cast<double>(c.vocab_size) * c.hidden_size;
  const double linear = static_cast<double>(count_parameters(c).active) - embedding;
  const double attention = 0.5 * context * c.num_hidden_layers * c.num_attention_heads *
                           (c.qk_nope_head_dim + c.qk_rope_head_dim + c.v_head_dim);
  return 2.0 * (linear + attention);
}

}  // namespace weft::trainer

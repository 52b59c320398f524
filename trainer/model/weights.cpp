#include "trainer/model/weights.h"

#include <fmt/format.h>

#include "base/check.h"
#include "trainer/model/expert_replicas.h"

namespace weft::trainer {

namespace {

struct Adder {
  ParameterSet& set;
  const ModelConfig& config;

  Matrix matrix(LinearKind kind, std::string name, int out, int in, bool expert = false) {
    const int index = set.add(std::move(name), {out, in}, expert, true, true);
    return {kind, out, in, set.items()[static_cast<std::size_t>(index)].offset, {}, {}};
  }
  Vector1 vector(std::string name, int size, bool trainable = true) {
    const int index = set.add(std::move(name), {size}, false, trainable, false);
    return {size, set.items()[static_cast<std::size_t>(index)].offset};
  }

  MlpWeights mlp(const std::string& prefix, int width, bool expert) {
    const int hidden = config.hidden_size;
    MlpWeights result;
    result.width = width;
    const auto gate_up = expert ? LinearKind::ExpertGateUp : LinearKind::MlpGateUp;
    result.gate_up = matrix(gate_up, prefix + "gate_proj.weight", width, hidden, expert);
    matrix(gate_up, prefix + "up_proj.weight", width, hidden, expert);
    result.gate_up.out = 2 * width;
    result.down = matrix(expert ? LinearKind::ExpertDown : LinearKind::MlpDown,
                         prefix + "down_proj.weight", hidden, width, expert);
    return result;
  }

  void attention(const std::string& prefix, LayerWeights& layer) {
    const ModelConfig& c = config;
    const int heads = c.num_attention_heads;
    const int q_dim = heads * (c.qk_nope_head_dim + c.qk_rope_head_dim);
    if (c.q_lora_rank > 0) {
      layer.q_down =
          matrix(LinearKind::QDown, prefix + "q_a_proj.weight", c.q_lora_rank, c.hidden_size);
      layer.q_norm = vector(prefix + "q_a_layernorm.weight", c.q_lora_rank);
      layer.q_up = matrix(LinearKind::QUp, prefix + "q_b_proj.weight", q_dim, c.q_lora_rank);
    } else {
      layer.q_up = matrix(LinearKind::QUp, prefix + "q_proj.weight", q_dim, c.hidden_size);
    }
    layer.kv_down = matrix(LinearKind::KvDown, prefix + "kv_a_proj_with_mqa.weight",
                           c.kv_lora_rank + c.qk_rope_head_dim, c.hidden_size);
    layer.kv_norm = vector(prefix + "kv_a_layernorm.weight", c.kv_lora_rank);
    layer.kv_up = matrix(LinearKind::KvUp, prefix + "kv_b_proj.weight",
                         heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank);
    layer.out = matrix(LinearKind::AttentionOut, prefix + "o_proj.weight", c.hidden_size,
                       heads * c.v_head_dim);
  }

  void grouped_attention(const std::string& prefix, LayerWeights& layer) {
    const ModelConfig& c = config;
    const int q_dim = c.num_attention_heads * c.head_dim,
              kv_dim = c.num_key_value_heads * c.head_dim;
    const auto projection = [&](LinearKind kind, const char* name, int out, Vector1& bias) {
      const Matrix result = matrix(kind, prefix + name + "_proj.weight", out, c.hidden_size);
      if (c.attention_bias) bias = vector(prefix + name + "_proj.bias", out);
      return result;
    };
    layer.q_up = projection(LinearKind::QUp, "q", q_dim, layer.q_bias);
    layer.k = projection(LinearKind::KvUp, "k", kv_dim, layer.k_bias);
    layer.v = projection(LinearKind::KvUp, "v", kv_dim, layer.v_bias);
    layer.out = matrix(LinearKind::AttentionOut, prefix + "o_proj.weight", c.hidden_size, q_dim);
    if (!c.qk_norm) return;
    layer.q_norm = vector(prefix + "q_norm.weight", c.head_dim);
    layer.kv_norm = vector(prefix + "k_norm.weight", c.head_dim);
  }

  LayerWeights layer(int index, int first_expert, int num_experts) {
    const std::string prefix = fmt::format("model.layers.{}.", index);
    LayerWeights layer;
    layer.moe = config.is_moe(index);
    layer.norm1 = vector(prefix + "input_layernorm.weight", config.hidden_size);
    if (config.latent_attention())
      attention(prefix + "self_attn.", layer);
    else
      grouped_attention(prefix + "self_attn.", layer);
    layer.norm2 = vector(prefix + "post_attention_layernorm.weight", config.hidden_size);
    if (!layer.moe) {
      layer.mlp = mlp(prefix + "mlp.", config.intermediate_size, false);
      return layer;
    }
    layer.gate = matrix(LinearKind::Gate, prefix + "mlp.gate.weight", config.n_routed_experts,
                        config.hidden_size);
    if (config.selection_bias) {
      layer.selection_bias =
          vector(prefix + "mlp.gate.e_score_correction_bias", config.n_routed_experts, false);
    }
    if (config.n_shared_experts > 0) {
      layer.mlp = mlp(prefix + "mlp.shared_experts.",
                      config.n_shared_experts * config.moe_intermediate_size, false);
    }
    for (int e = first_expert; e < first_expert + num_experts; ++e) {
      layer.experts.push_back(
          mlp(fmt::format("{}mlp.experts.{}.", prefix, e), config.moe_intermediate_size, true));
    }
    return layer;
  }
};

}  // namespace

std::vector<MlpWeights> add_replicas(const ModelConfig& config, int layer, int count,
                                     ParameterSet& set) {
  Adder add{set, config};
  std::vector<MlpWeights> seats;
  for (int i = 0; i < count; ++i)
    seats.push_back(add.mlp(fmt::format("model.layers.{}.mlp.replicas.{}.", layer, i),
                            config.moe_intermediate_size, true));
  return seats;
}

StageWeights add_parameters(const ModelConfig& config, const StageSpec& spec, bool embedding,
                            int first_expert, int num_experts, ParameterSet& set) {
  Adder add{set, config};
  StageWeights weights;
  if (embedding) {
    weights.embedding = add.matrix(LinearKind::Embedding, "model.embed_tokens.weight",
                                   config.vocab_size, config.hidden_size);
  }
  if (embedding && config.num_nextn_predict_layers > 0) {
    set.share(static_cast<int>(set.items().size()) - 1);
  }
  for (int l = 0; l < spec.num_layers; ++l) {
    weights.layers.push_back(add.layer(spec.first_layer + l, first_expert, num_experts));
  }
  if (spec.head) {
    weights.norm = add.vector("model.norm.weight", config.hidden_size);
    if (config.tie_word_embeddings) {
      WEFT_CHECK(spec.embedding, "tied embeddings need both ends of the model on one stage");
      weights.head = weights.embedding;
      weights.head.kind = LinearKind::Head;
    } else {
      weights.head =
          add.matrix(LinearKind::Head, "lm_head.weight", config.vocab_size, config.hidden_size);
    }
  }
  return weights;
}

StageWeights add_module_parameters(const ModelConfig& config, const StageSpec& spec,
                                   int first_expert, int num_experts, ParameterSet& set) {
  Adder add{set, config};
  const std::string prefix = fmt::format("model.layers.{}.", spec.first_layer);
  const auto begin = static_cast<int>(set.items().size());
  StageWeights weights;
  weights.enorm = add.vector(prefix + "enorm.weight", config.hidden_size);
  weights.hnorm = add.vector(prefix + "hnorm.weight", config.hidden_size);
  weights.eh_proj = add.matrix(LinearKind::NextToken, prefix + "eh_proj.weight", config.hidden_size,
                               2 * config.hidden_size);
  weights.layers.push_back(add.layer(spec.first_layer, first_expert, num_experts));
  weights.norm = add.vector(prefix + "shared_head.norm.weight", config.hidden_size);
  for (int i = begin; i < static_cast<int>(set.items().size()); ++i) set.of_next_token(i);
  return weights;
}

}  // namespace weft::trainer

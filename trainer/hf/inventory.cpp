#include "trainer/hf/inventory.h"

#include <fmt/format.h>

namespace weft::trainer::hf {
namespace {

/// Lists a model's tensors in order.
class Lister {
 public:
  explicit Lister(const ModelConfig& config) : c_(config) {}

  std::vector<Tensor> list() {
    const std::int64_t d = c_.hidden_size;
    add("model.embed_tokens.weight", {c_.vocab_size, d}, Part::Embedding);
    for (layer_ = 0; layer_ < c_.num_hidden_layers; ++layer_) block(c_.is_moe(layer_));
    layer_ = -1;
    add("model.norm.weight", {d}, Part::Norm);
    if (!c_.tie_word_embeddings) add("lm_head.weight", {c_.vocab_size, d}, Part::Head);
    for (int i = 0; i < c_.num_nextn_predict_layers; ++i) {
      layer_ = c_.num_hidden_layers + i;
      next_token();
    }
    return std::move(out_);
  }

 private:
  std::string here(std::string_view name) const {
    return fmt::format("model.layers.{}.{}", layer_, name);
  }
  void add(std::string name, std::vector<std::int64_t> shape, Part part) {
    out_.push_back({std::move(name), std::move(shape), next_ ? Part::NextToken : part, layer_});
  }
  void vector(std::string_view name, std::int64_t size) { add(here(name), {size}, Part::Norm); }
  /// A projection: quantised where the checkpoint is.
  void matrix(std::string_view name, std::int64_t rows, std::int64_t columns, Part part) {
    add(here(name), {rows, columns}, part);
    out_.back().quantized = c_.fp8_block_rows > 0;
  }

  void block(bool moe) {
    vector("input_layernorm.weight", c_.hidden_size);
    c_.latent_attention() ? latent_attention() : grouped_attention();
    vector("post_attention_layernorm.weight", c_.hidden_size);
    if (!moe) return mlp("mlp.", c_.intermediate_size, Part::DenseMlp);
    const std::int64_t experts = c_.n_routed_experts;
    add(here("mlp.gate.weight"), {experts, c_.hidden_size}, Part::Router);
    if (c_.selection_bias) add(here("mlp.gate.e_score_correction_bias"), {experts}, Part::Router);
    for (int e = 0; e < c_.n_routed_experts; ++e) {
      const std::size_t first = out_.size();
      mlp(fmt::format("mlp.experts.{}.", e), c_.moe_intermediate_size, Part::RoutedExpert);
      for (std::size_t i = first; i < out_.size(); ++i) out_[i].expert = e;
    }
    if (c_.n_shared_experts > 0)
      mlp("mlp.shared_experts.",
          static_cast<std::int64_t>(c_.n_shared_experts) * c_.moe_intermediate_size,
          Part::SharedExpert);
  }

  void mlp(const std::string& prefix, std::int64_t width, Part part) {
    matrix(prefix + "gate_proj.weight", width, c_.hidden_size, part);
    matrix(prefix + "up_proj.weight", width, c_.hidden_size, part);
    matrix(prefix + "down_proj.weight", c_.hidden_size, width, part);
  }

  void latent_attention() {
    const std::int64_t d = c_.hidden_size, heads = c_.num_attention_heads;
    const std::int64_t q = heads * (c_.qk_nope_head_dim + c_.qk_rope_head_dim);
    if (c_.q_lora_rank > 0) {
      matrix("self_attn.q_a_proj.weight", c_.q_lora_rank, d, Part::Attention);
      vector("self_attn.q_a_layernorm.weight", c_.q_lora_rank);
      matrix("self_attn.q_b_proj.weight", q, c_.q_lora_rank, Part::Attention);
    } else {
      matrix("self_attn.q_proj.weight", q, d, Part::Attention);
    }
    matrix("self_attn.kv_a_proj_with_mqa.weight", c_.kv_lora_rank + c_.qk_rope_head_dim, d,
           Part::Attention);
    vector("self_attn.kv_a_layernorm.weight", c_.kv_lora_rank);
    matrix("self_attn.kv_b_proj.weight", heads * (c_.qk_nope_head_dim + c_.v_head_dim),
           c_.kv_lora_rank, Part::Attention);
    matrix("self_attn.o_proj.weight", d, heads * c_.v_head_dim, Part::Attention);
  }

  void grouped_attention() {
    const std::int64_t d = c_.hidden_size, q = std::int64_t{c_.num_attention_heads} * c_.head_dim,
                       kv = std::int64_t{c_.num_key_value_heads} * c_.head_dim;
    const auto projection = [&](const std::string& name, std::int64_t rows) {
      matrix("self_attn." + name + "_proj.weight", rows, d, Part::Attention);
      if (c_.attention_bias) add(here("self_attn." + name + "_proj.bias"), {rows}, Part::Attention);
    };
    projection("q", q);
    projection("k", kv);
    projection("v", kv);
    matrix("self_attn.o_proj.weight", d, q, Part::Attention);
    if (!c_.qk_norm) return;
    vector("self_attn.q_norm.weight", c_.head_dim);
    vector("self_attn.k_norm.weight", c_.head_dim);
  }

  /// Depth i of multi-token prediction: joins the residual stream with the next token's embedding.
  void next_token() {
    next_ = true;
    const std::int64_t d = c_.hidden_size;
    add(here("embed_tokens.weight"), {c_.vocab_size, d}, Part::NextToken);
    out_.back().stored_again = true;
    vector("enorm.weight", d);
    vector("hnorm.weight", d);
    add(here("eh_proj.weight"), {d, 2 * d}, Part::NextToken);
    block(c_.n_routed_experts > 0);
    vector("shared_head.norm.weight", d);
    add(here("shared_head.head.weight"), {c_.vocab_size, d}, Part::NextToken);
    out_.back().stored_again = true;
    next_ = false;
  }

  const ModelConfig& c_;
  std::vector<Tensor> out_;
  int layer_ = -1;
  bool next_ = false;
};

}  // namespace

std::string_view to_string(Part part) {
  constexpr std::string_view kNames[] = {"embedding",      "attention",   "norms",
                                         "dense MLP",      "router",      "shared experts",
                                         "routed experts", "output head", "next-token modules"};
  return kNames[static_cast<int>(part)];
}

std::int64_t Tensor::size() const {
  std::int64_t product = 1;
  for (const std::int64_t length : shape) product *= length;
  return product;
}

std::vector<Tensor> tensors_of(const ModelConfig& config) { return Lister(config).list(); }

Counts count(const ModelConfig& config) {
  Counts counts;
  for (const Tensor& tensor : tensors_of(config)) {
    const std::int64_t size = tensor.size();
    if (tensor.part == Part::NextToken) {
      if (!tensor.stored_again) counts.next_token += size;
      continue;
    }
    counts.total += size;
    // The first num_experts_per_tok stand for any: experts are alike.
    if (tensor.part != Part::RoutedExpert || tensor.expert < config.num_experts_per_tok)
      counts.active += size;
    if (tensor.part == Part::Embedding) counts.embedding += size;
    if (tensor.part == Part::Head) counts.head += size;
  }
  return counts;
}

Flops flops_per_token(const ModelConfig& config, int context) {
  const Counts counts = count(config);
  // Every active parameter takes part in one multiply-add, but for the embedding, which is looked
  // up (and used by the head when tied).
  const auto linear =
      static_cast<double>(counts.active - (config.tie_word_embeddings ? 0 : counts.embedding));
  const double per_key = config.latent_attention()
                             ? config.qk_nope_head_dim + config.qk_rope_head_dim + config.v_head_dim
                             : 2.0 * config.head_dim;
  const double attention = static_cast<double>(context) * config.num_hidden_layers *
                           config.num_attention_heads * per_key;
  return {2 * (linear + attention / 2), 2 * (linear + attention)};
}

}  // namespace weft::trainer::hf

#include "trainer/gguf/deepseek2.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace weft::trainer::gguf {
namespace {

/// Lists a model's tensors in the file's order.
class Lister {
 public:
  Lister(const ModelConfig& config, Type type) : c_(config), type_(type) {}

  std::vector<OutTensor> list() {
    const std::int64_t d = c_.hidden_size;
    matrix("token_embd.weight", "model.embed_tokens.weight", c_.vocab_size, d);
    for (layer_ = 0; layer_ < c_.num_hidden_layers; ++layer_) block();
    vector("output_norm.weight", "model.norm.weight", d);
    if (!c_.tie_word_embeddings) matrix("output.weight", "lm_head.weight", c_.vocab_size, d);
    return std::move(out_);
  }

 private:
  std::string blk(std::string_view name) const { return fmt::format("blk.{}.{}", layer_, name); }
  std::string ours(std::string_view name) const {
    return fmt::format("model.layers.{}.{}", layer_, name);
  }
  /// The wanted format, where its blocks fit the rows.
  Type type_for(std::int64_t columns) const {
    return type_ == Type::Q8_0 && columns % 32 != 0 ? Type::F16 : type_;
  }

  void vector(std::string name, std::string source, std::int64_t size) {
    out_.push_back({std::move(name), {unsigned_(size)}, Type::F32, Transform::Whole, {}});
    out_.back().sources.push_back({std::move(source), {size}});
  }
  void matrix(std::string name, std::string source, std::int64_t rows, std::int64_t columns) {
    out_.push_back({std::move(name),
                    {unsigned_(columns), unsigned_(rows)},
                    type_for(columns),
                    Transform::Whole,
                    {}});
    out_.back().sources.push_back({std::move(source), {rows, columns}});
  }

  void block() {
    vector(blk("attn_norm.weight"), ours("input_layernorm.weight"), c_.hidden_size);
    attention();
    vector(blk("ffn_norm.weight"), ours("post_attention_layernorm.weight"), c_.hidden_size);
    if (!c_.is_moe(layer_)) return mlp("", "mlp.", c_.intermediate_size);
    matrix(blk("ffn_gate_inp.weight"), ours("mlp.gate.weight"), c_.n_routed_experts,
           c_.hidden_size);
    out_.back().type = Type::F32;
    if (c_.selection_bias)
      vector(blk("exp_probs_b.bias"), ours("mlp.gate.e_score_correction_bias"),
             c_.n_routed_experts);
    experts("gate", c_.moe_intermediate_size, c_.hidden_size);
    experts("up", c_.moe_intermediate_size, c_.hidden_size);
    experts("down", c_.hidden_size, c_.moe_intermediate_size);
    if (c_.n_shared_experts > 0)
      mlp("_shexp", "mlp.shared_experts.",
          std::int64_t{c_.n_shared_experts} * c_.moe_intermediate_size);
  }

  void mlp(std::string_view suffix, std::string_view from, std::int64_t width) {
    const auto add = [&](std::string_view part, std::int64_t rows, std::int64_t columns) {
      matrix(blk(fmt::format("ffn_{}{}.weight", part, suffix)),
             ours(fmt::format("{}{}_proj.weight", from, part)), rows, columns);
    };
    add("gate", width, c_.hidden_size);
    add("up", width, c_.hidden_size);
    add("down", c_.hidden_size, width);
  }

  void experts(std::string_view part, std::int64_t rows, std::int64_t columns) {
    OutTensor merged{blk(fmt::format("ffn_{}_exps.weight", part)),
                     {unsigned_(columns), unsigned_(rows), unsigned_(c_.n_routed_experts)},
                     type_for(columns),
                     Transform::Whole,
                     {}};
    for (int e = 0; e < c_.n_routed_experts; ++e)
      merged.sources.push_back(
          {ours(fmt::format("mlp.experts.{}.{}_proj.weight", e, part)), {rows, columns}});
    out_.push_back(std::move(merged));
  }

  void attention() {
    const std::int64_t d = c_.hidden_size, heads = c_.num_attention_heads;
    const std::int64_t nope = c_.qk_nope_head_dim, rope = c_.qk_rope_head_dim, v = c_.v_head_dim;
    const std::int64_t latent = c_.kv_lora_rank;
    const std::string attn = "self_attn.";
    matrix(blk("attn_q_a.weight"), ours(attn + "q_a_proj.weight"), c_.q_lora_rank, d);
    vector(blk("attn_q_a_norm.weight"), ours(attn + "q_a_layernorm.weight"), c_.q_lora_rank);
    matrix(blk("attn_q_b.weight"), ours(attn + "q_b_proj.weight"), heads * (nope + rope),
           c_.q_lora_rank);
    matrix(blk("attn_kv_a_mqa.weight"), ours(attn + "kv_a_proj_with_mqa.weight"), latent + rope, d);
    vector(blk("attn_kv_a_norm.weight"), ours(attn + "kv_a_layernorm.weight"), latent);
    const auto part = [&](std::string_view name, std::int64_t rows, std::int64_t columns,
                          Transform how) {
      matrix(blk(name), ours(attn + "kv_b_proj.weight"), heads * (nope + v), latent);
      out_.back().dims = {unsigned_(columns), unsigned_(rows), unsigned_(heads)};
      out_.back().type = type_for(columns);
      out_.back().transform = how;
    };
    part("attn_k_b.weight", latent, nope, Transform::KeyPart);
    part("attn_v_b.weight", v, latent, Transform::ValuePart);
    matrix(blk("attn_output.weight"), ours(attn + "o_proj.weight"), d, heads * v);
  }

  static std::uint64_t unsigned_(std::int64_t value) { return static_cast<std::uint64_t>(value); }

  const ModelConfig& c_;
  const Type type_;
  std::vector<OutTensor> out_;
  int layer_ = 0;
};

using Keys = std::vector<std::pair<std::string, Value>>;

void add_attention_keys(const ModelConfig& c, Keys& out) {
  const auto count = [&](const char* key, int value) {
    out.emplace_back(std::string("deepseek2.") + key,
                     Value::u32(static_cast<std::uint32_t>(value)));
  };
  count("attention.head_count", c.num_attention_heads);
  count("attention.head_count_kv", 1);  // all heads share one latent
  count("attention.q_lora_rank", c.q_lora_rank);
  count("attention.kv_lora_rank", c.kv_lora_rank);
  count("attention.key_length", c.kv_lora_rank + c.qk_rope_head_dim);
  count("attention.value_length", c.kv_lora_rank);
  count("attention.key_length_mla", c.qk_nope_head_dim + c.qk_rope_head_dim);
  count("attention.value_length_mla", c.v_head_dim);
  count("rope.dimension_count", c.qk_rope_head_dim);
  out.emplace_back("deepseek2.attention.layer_norm_rms_epsilon",
                   Value::f32(static_cast<float>(c.rms_norm_eps)));
  out.emplace_back("deepseek2.rope.freq_base", Value::f32(static_cast<float>(c.rope_theta)));
  if (!c.yarn.active()) return;
  const auto real = [&](const char* key, double value) {
    out.emplace_back(std::string("deepseek2.rope.scaling.") + key,
                     Value::f32(static_cast<float>(value)));
  };
  out.emplace_back("deepseek2.rope.scaling.type", Value::text("yarn"));
  real("factor", c.yarn.factor);
  count("rope.scaling.original_context_length", c.yarn.original_max_position_embeddings);
  real("yarn_log_multiplier", 0.1 * c.yarn.mscale_all_dim);
  real("yarn_beta_fast", c.yarn.beta_fast);
  real("yarn_beta_slow", c.yarn.beta_slow);
}

void add_expert_keys(const ModelConfig& c, Keys& out) {
  const auto count = [&](const char* key, int value) {
    out.emplace_back(std::string("deepseek2.") + key,
                     Value::u32(static_cast<std::uint32_t>(value)));
  };
  count("leading_dense_block_count", c.first_k_dense_replace);
  count("expert_count", c.n_routed_experts);
  count("expert_used_count", c.num_experts_per_tok);
  count("expert_shared_count", c.n_shared_experts);
  count("expert_feed_forward_length", c.moe_intermediate_size);
  count("expert_group_count", c.n_group);
  count("expert_group_used_count", c.topk_group);
  count("expert_gating_func", 2);  // sigmoid
  out.emplace_back("deepseek2.expert_weights_scale",
                   Value::f32(static_cast<float>(c.routed_scaling_factor)));
  out.emplace_back("deepseek2.expert_weights_norm", Value::boolean(c.norm_topk_prob));
}

void add_vocabulary_keys(const Vocabulary& vocabulary, Keys& out) {
  const auto add = [&](const char* key, Value value) {
    out.emplace_back(std::string("tokenizer.") + key, std::move(value));
  };
  add("ggml.model", Value::text("gpt2"));
  add("ggml.pre", Value::text(vocabulary.pre));
  add("ggml.tokens", Value::strings(vocabulary.tokens));
  add("ggml.token_type", Value::i32s(vocabulary.types));
  add("ggml.merges", Value::strings(vocabulary.merges));
  if (vocabulary.bos >= 0)
    add("ggml.bos_token_id", Value::u32(static_cast<std::uint32_t>(vocabulary.bos)));
  if (vocabulary.eos >= 0)
    add("ggml.eos_token_id", Value::u32(static_cast<std::uint32_t>(vocabulary.eos)));
  add("ggml.add_bos_token", Value::boolean(vocabulary.add_bos));
  if (!vocabulary.chat_template.empty())
    add("chat_template", Value::text(vocabulary.chat_template));
}

/// llama.cpp's number for what most tensors are.
std::uint32_t file_type(Type type) {
  static const std::map<Type, std::uint32_t> kNumbers = {
      {Type::F32, 0}, {Type::F16, 1}, {Type::Q8_0, 7}, {Type::BF16, 32}};
  return kNumbers.at(type);
}

}  // namespace

std::optional<Type> parse_type(std::string_view text) {
  if (text == "f32") return Type::F32;
  if (text == "f16") return Type::F16;
  if (text == "bf16") return Type::BF16;
  if (text == "q8_0") return Type::Q8_0;
  return std::nullopt;
}

Expected<void> check_expressible(const ModelConfig& c) {
  const auto refuse = [](const std::string& why) {
    return fail(Code::Unsupported, "this model cannot be written as GGUF: " + why);
  };
  if (c.model_type != "deepseek_v3" || !c.latent_attention())
    return refuse("model_type is \"" + c.model_type +
                  "\", and only deepseek_v3 is written; export it to Hugging Face's format, from "
                  "which llama.cpp's own converter goes on");
  if (c.q_lora_rank == 0)
    return refuse(
        "llama.cpp takes a model without q_lora_rank for a DeepSeek-V2-Lite of 27 layers");
  if (c.n_routed_experts == 0)
    return refuse("its architecture deepseek2 has experts, this has none");
  if (c.first_k_dense_replace >= c.num_hidden_layers)
    return refuse("first_k_dense_replace leaves no layer with experts");
  if (c.yarn.active() && c.yarn.mscale != c.yarn.mscale_all_dim)
    return refuse(
        fmt::format("rope_scaling.mscale {} differs from mscale_all_dim {}, llama.cpp "
                    "knows one number for both",
                    c.yarn.mscale, c.yarn.mscale_all_dim));
  return {};
}

std::vector<OutTensor> tensors(const ModelConfig& config, Type type) {
  return Lister(config, type).list();
}

std::vector<std::pair<std::string, Value>> keys(const ModelConfig& c, Type type,
                                                const Vocabulary& vocabulary,
                                                const std::string& name) {
  const auto number = [](int value) { return Value::u32(static_cast<std::uint32_t>(value)); };
  Keys out;
  out.emplace_back("general.architecture", Value::text("deepseek2"));
  out.emplace_back("general.type", Value::text("model"));
  out.emplace_back("general.name", Value::text(name));
  out.emplace_back("general.file_type", Value::u32(file_type(type)));
  out.emplace_back("general.quantization_version", Value::u32(2));
  out.emplace_back("general.alignment", Value::u32(kAlignment));
  out.emplace_back("deepseek2.vocab_size", number(c.vocab_size));
  out.emplace_back("deepseek2.context_length", number(c.max_position_embeddings));
  out.emplace_back("deepseek2.embedding_length", number(c.hidden_size));
  out.emplace_back("deepseek2.block_count", number(c.num_hidden_layers));
  out.emplace_back("deepseek2.feed_forward_length", number(c.intermediate_size));
  add_attention_keys(c, out);
  add_expert_keys(c, out);
  add_vocabulary_keys(vocabulary, out);
  return out;
}

void transform(const ModelConfig& c, Transform how, std::span<const float> in,
               std::vector<float>& out) {
  if (how == Transform::Whole) {
    out.assign(in.begin(), in.end());
    return;
  }
  const std::size_t heads = static_cast<std::size_t>(c.num_attention_heads),
                    nope = static_cast<std::size_t>(c.qk_nope_head_dim),
                    v = static_cast<std::size_t>(c.v_head_dim),
                    latent = static_cast<std::size_t>(c.kv_lora_rank);
  const bool key = how == Transform::KeyPart;
  out.resize(heads * (key ? nope : v) * latent);
  for (std::size_t h = 0; h < heads; ++h) {
    const float* const rows = in.data() + h * (nope + v) * latent;
    float* const to = out.data() + h * (key ? nope : v) * latent;
    if (!key) {
      std::copy_n(rows + nope * latent, v * latent, to);
      continue;
    }
    for (std::size_t r = 0; r < nope; ++r)
      for (std::size_t l = 0; l < latent; ++l) to[l * nope + r] = rows[r * latent + l];
  }
}

}  // namespace weft::trainer::gguf

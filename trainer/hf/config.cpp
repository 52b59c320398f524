#include "trainer/hf/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.h"
#include "trainer/checkpoint/strict_json.h"

namespace weft::trainer::hf {
namespace {

using nlohmann::json;

constexpr int kSizeMax = 1 << 24;  // of any dimension; products then fit 64 bits

// Known, and of no consequence for shapes or numbers here.
const std::set<std::string> kPassedOver = {
    "_name_or_path",     "architectures",        "attention_dropout", "auto_map",
    "bos_token_id",      "eos_token_id",         "pad_token_id",      "ep_size",
    "pretraining_tp",    "pretraining_seq_len",  "use_cache",         "transformers_version",
    "output_attentions", "output_hidden_states", "use_return_dict",   "sliding_window",
    "max_window_layers", "layer_types",          "use_mrope",         "qk_head_dim"};

const std::vector<std::string> kTypes = {"deepseek_v3", "llama", "qwen2", "qwen3"};

/// Nothing said: what a file leaves out is not this library's small model.
ModelConfig unsaid() {
  ModelConfig c;
  c.model_type.clear();
  for (int ModelConfig::*const member :
       {&ModelConfig::vocab_size, &ModelConfig::hidden_size, &ModelConfig::intermediate_size,
        &ModelConfig::num_hidden_layers, &ModelConfig::max_position_embeddings,
        &ModelConfig::num_attention_heads, &ModelConfig::q_lora_rank, &ModelConfig::kv_lora_rank,
        &ModelConfig::qk_nope_head_dim, &ModelConfig::qk_rope_head_dim, &ModelConfig::v_head_dim,
        &ModelConfig::moe_intermediate_size, &ModelConfig::first_k_dense_replace,
        &ModelConfig::n_shared_experts, &ModelConfig::n_routed_experts,
        &ModelConfig::num_experts_per_tok})
    c.*member = 0;
  c.n_group = c.topk_group = 1;
  return c;
}

/// Takes members one by one; what is left at the end was not understood.
class Fields {
 public:
  explicit Fields(const json& object) : object_(object) {}

  const json* take(const std::string& key) {
    const auto found = object_.find(key);
    if (found == object_.end()) return nullptr;
    taken_.insert(key);
    return found->is_null() ? nullptr : &*found;
  }
  bool has(const std::string& key) const { return object_.contains(key); }

  void count(const char* key, int& value, int low, bool required) {
    const json* const given = take(key);
    if (given == nullptr) {
      if (required) problem(fmt::format("{} is missing", key));
      return;
    }
    if (!given->is_number_integer() || *given < low || *given > kSizeMax)
      return problem(fmt::format("{} is {}: expected a whole number from {} to {}", key,
                                 given->dump(), low, kSizeMax));
    value = given->get<int>();
  }
  void real(const char* key, double& value, double low) {
    const json* const given = take(key);
    if (given == nullptr) return;
    if (!given->is_number() || !(given->get<double>() >= low) ||
        !std::isfinite(given->get<double>()))
      return problem(
          fmt::format("{} is {}: expected a number of at least {}", key, given->dump(), low));
    value = given->get<double>();
  }
  void flag(const char* key, bool& value) {
    const json* const given = take(key);
    if (given == nullptr) return;
    if (!given->is_boolean())
      return problem(fmt::format("{} is {}: expected true or false", key, given->dump()));
    value = given->get<bool>();
  }
  void text(const char* key, std::string& value) {
    const json* const given = take(key);
    if (given == nullptr) return;
    if (!given->is_string())
      return problem(fmt::format("{} is {}: expected text", key, given->dump()));
    value = given->get<std::string>();
  }
  /// Only one value is understood; absent is fine.
  void only(const char* key, const json& value) {
    const json* const given = take(key);
    if (given != nullptr && *given != value)
      problem(fmt::format("{} is {}: only {} is understood", key, given->dump(), value.dump()));
  }

  void problem(std::string what) { problems.push_back(std::move(what)); }
  void warn_of_the_rest() {
    for (const auto& [key, value] : object_.items())
      if (!taken_.contains(key) && !kPassedOver.contains(key))
        warnings.push_back(fmt::format("{} is not understood and changes nothing here", key));
  }

  std::vector<std::string> problems, warnings;

 private:
  const json& object_;
  std::set<std::string> taken_;
};

void read_yarn(Fields& fields, ModelConfig& config) {
  const json* const given = fields.take("rope_scaling");
  if (given == nullptr) return;
  if (!given->is_object()) return fields.problem("rope_scaling is no object");
  Fields inner(*given);
  std::string type = "default";
  inner.text("type", type);
  inner.text("rope_type", type);
  if (type == "default") return;
  Yarn yarn;
  inner.real("factor", yarn.factor, 1);
  inner.real("beta_fast", yarn.beta_fast, 0);
  inner.real("beta_slow", yarn.beta_slow, 0);
  inner.real("mscale", yarn.mscale, 0);
  inner.real("mscale_all_dim", yarn.mscale_all_dim, 0);
  inner.count("original_max_position_embeddings", yarn.original_max_position_embeddings, 1, true);
  inner.only("truncate", true);
  if (inner.take("attention_factor") != nullptr)
    inner.problem("attention_factor is given: only mscale and mscale_all_dim are understood");
  if (type != "yarn")
    inner.problem(fmt::format("type is \"{}\": only yarn and default are understood", type));
  inner.warn_of_the_rest();
  for (const std::string& one : inner.problems) fields.problem("rope_scaling." + one);
  for (const std::string& one : inner.warnings) fields.warnings.push_back("rope_scaling." + one);
  config.yarn = yarn;
}

void read_quantization(Fields& fields, ModelConfig& config) {
  const json* const given = fields.take("quantization_config");
  if (given == nullptr) return;
  if (!given->is_object()) return fields.problem("quantization_config is no object");
  Fields inner(*given);
  inner.only("quant_method", "fp8");
  inner.only("fmt", "e4m3");
  inner.only("activation_scheme", "dynamic");
  inner.take("scale_fmt");
  const json* const block = inner.take("weight_block_size");
  const bool pair = block != nullptr && block->is_array() && block->size() == 2 &&
                    (*block)[0].is_number_integer() && (*block)[1].is_number_integer() &&
                    (*block)[0] >= 1 && (*block)[1] >= 1 && (*block)[0] <= kSizeMax &&
                    (*block)[1] <= kSizeMax;
  if (pair) {
    config.fp8_block_rows = (*block)[0];
    config.fp8_block_columns = (*block)[1];
  } else {
    inner.problem("weight_block_size must be [rows, columns]");
  }
  inner.warn_of_the_rest();
  for (const std::string& one : inner.problems) fields.problem("quantization_config." + one);
  for (const std::string& one : inner.warnings)
    fields.warnings.push_back("quantization_config." + one);
}

void read_latent_attention(Fields& fields, ModelConfig& config) {
  fields.count("q_lora_rank", config.q_lora_rank, 1, false);
  fields.count("kv_lora_rank", config.kv_lora_rank, 1, true);
  fields.count("qk_nope_head_dim", config.qk_nope_head_dim, 1, true);
  fields.count("qk_rope_head_dim", config.qk_rope_head_dim, 2, true);
  fields.count("v_head_dim", config.v_head_dim, 1, true);
  fields.take("head_dim");             // the rotary part, as transformers writes it
  fields.take("num_key_value_heads");  // as many as there are heads
  fields.only("attention_bias", false);
  fields.only("rope_interleave", true);
}

void read_grouped_attention(Fields& fields, ModelConfig& config) {
  config.num_key_value_heads = config.num_attention_heads;
  fields.count("num_key_value_heads", config.num_key_value_heads, 1, false);
  if (config.num_attention_heads > 0) {
    config.head_dim = config.hidden_size / config.num_attention_heads;
    if (!fields.has("head_dim") && config.hidden_size % config.num_attention_heads != 0)
      fields.problem(fmt::format("hidden_size ({}) is not divisible by num_attention_heads ({})",
                                 config.hidden_size, config.num_attention_heads));
  }
  fields.count("head_dim", config.head_dim, 2, false);
  config.attention_bias = config.model_type == "qwen2";
  fields.flag("attention_bias", config.attention_bias);
  config.qk_norm = config.model_type == "qwen3";
  fields.only("mlp_bias", false);
  fields.only("use_sliding_window", false);
}

/// A dense model: what describes experts would be without effect.
void pass_over_experts(Fields& fields, ModelConfig& config) {
  const json* const dense = fields.take("first_k_dense_replace");
  if (dense != nullptr && *dense != config.num_hidden_layers)
    fields.warnings.push_back("first_k_dense_replace has no effect: there are no routed experts");
  for (const char* key : {"moe_intermediate_size", "n_shared_experts", "num_experts_per_tok",
                          "n_group", "topk_group", "moe_layer_freq"})
    if (fields.take(key) != nullptr)
      fields.warnings.push_back(fmt::format("{} has no effect: there are no routed experts", key));
}

void read_experts(Fields& fields, ModelConfig& config) {
  fields.count("n_routed_experts", config.n_routed_experts, 1, false);
  if (config.n_routed_experts == 0) return pass_over_experts(fields, config);
  fields.count("moe_intermediate_size", config.moe_intermediate_size, 1, true);
  fields.count("num_experts_per_tok", config.num_experts_per_tok, 1, true);
  fields.count("n_shared_experts", config.n_shared_experts, 0, true);
  fields.count("first_k_dense_replace", config.first_k_dense_replace, 0, true);
  fields.count("n_group", config.n_group, 1, false);
  fields.count("topk_group", config.topk_group, 1, false);
  fields.real("routed_scaling_factor", config.routed_scaling_factor, 0);
  fields.flag("norm_topk_prob", config.norm_topk_prob);
  fields.real("aux_loss_alpha", config.aux_loss_alpha, 0);
  bool by_sequence = true;
  fields.flag("seq_aux", by_sequence);
  if (!by_sequence && config.aux_loss_alpha > 0)
    fields.problem("seq_aux is false: only the sequence-wise balance loss is understood");
  fields.only("scoring_func", "sigmoid");
  fields.only("moe_layer_freq", 1);
  std::string method = "noaux_tc";
  fields.text("topk_method", method);
  config.selection_bias = method == "noaux_tc";
  if (method != "noaux_tc" && method != "group_limited_greedy")
    fields.problem(fmt::format(
        "topk_method is \"{}\": noaux_tc and group_limited_greedy are understood", method));
}

void read_type(Fields& fields, ModelConfig& config) {
  fields.text("model_type", config.model_type);
  if (config.model_type.empty())
    fields.problem("model_type is missing");
  else if (std::ranges::find(kTypes, config.model_type) == kTypes.end()) {
    const std::string near = closest(config.model_type, kTypes);
    fields.problem(fmt::format("model_type is \"{}\": understood are {}{}", config.model_type,
                               join(kTypes, ", "),
                               near.empty() ? "" : "; did you mean " + near + "?"));
  }
}

void read_dtype(Fields& fields, ModelConfig& config) {
  fields.text("torch_dtype", config.dtype);
  fields.text("dtype", config.dtype);
  if (config.dtype != "bfloat16" && config.dtype != "float32" && config.dtype != "float16")
    fields.problem(
        fmt::format("dtype is \"{}\": understood are bfloat16, float32, float16", config.dtype));
}

/// The model's own rules, but for fields of which something is said already.
void check(Fields& fields, const ModelConfig& config) {
  const auto field_of = [](const std::string& text) { return text.substr(0, text.find(' ')); };
  std::set<std::string> known;
  for (const std::string& one : fields.problems) known.insert(field_of(one));
  for (const std::string& one : trainer::problems(config))
    if (!known.contains(field_of(one))) fields.problem(one);
}

void read_all(Fields& fields, ModelConfig& config) {
  read_type(fields, config);
  fields.count("vocab_size", config.vocab_size, 1, true);
  fields.count("hidden_size", config.hidden_size, 1, true);
  fields.count("num_hidden_layers", config.num_hidden_layers, 1, true);
  fields.count("num_attention_heads", config.num_attention_heads, 1, true);
  fields.count("max_position_embeddings", config.max_position_embeddings, 1, true);
  fields.real("rms_norm_eps", config.rms_norm_eps, 0);
  fields.real("rope_theta", config.rope_theta, 1);
  fields.real("initializer_range", config.initializer_range, 0);
  fields.flag("tie_word_embeddings", config.tie_word_embeddings);
  fields.only("hidden_act", "silu");
  read_dtype(fields, config);
  read_yarn(fields, config);
  read_quantization(fields, config);
  if (config.model_type == "deepseek_v3") {
    read_latent_attention(fields, config);
    read_experts(fields, config);
    fields.count("num_nextn_predict_layers", config.num_nextn_predict_layers, 0, false);
  } else {
    read_grouped_attention(fields, config);
  }
  const bool dense = config.n_routed_experts == 0 || config.first_k_dense_replace > 0;
  fields.count("intermediate_size", config.intermediate_size, 1, dense);
  fields.warn_of_the_rest();
  check(fields, config);
}

}  // namespace

Expected<Parsed> parse_config(std::string_view text, const std::string& name) {
  const auto object = checkpoint::parse_json(text);
  if (!object) return fail(Code::InvalidArgument, name + ": " + object.error().message);
  if (!object->is_object())
    return fail(Code::InvalidArgument, name + ": a config.json is one JSON object");
  Parsed parsed{unsaid(), {}};
  Fields fields(*object);
  read_all(fields, parsed.config);
  if (!fields.problems.empty()) {
    std::string all = name + ": this model cannot be built:";
    for (const std::string& one : fields.problems) all += "\n  " + one;
    return fail(Code::InvalidArgument, all);
  }
  parsed.warnings = std::move(fields.warnings);
  return parsed;
}

}  // namespace weft::trainer::hf

// The table's second chapter: the model's shape.
#include "runtime/job/fields.h"

#define WEFT_AT(member) [](Job& job) -> Slot { return &job.member; }

namespace weft::runtime {
namespace {

void add_int(std::vector<Field>& out, std::string path, Slot (*slot)(Job&), Range range,
             std::string_view unit, std::string_view help, std::string_view interacts,
             std::string_view example, std::vector<OtherName> names = {}) {
  out.push_back({.path = std::move(path),
                 .type = FieldType::Int,
                 .slot = slot,
                 .range = range,
                 .unit = unit,
                 .help = help,
                 .interacts = interacts,
                 .example = example,
                 .names = std::move(names)});
}

constexpr Range kWidth = {1, 1 << 20};

void add_real(std::vector<Field>& out, std::string path, Slot (*slot)(Job&), Range range,
              std::string_view help, std::string_view interacts, std::string_view example,
              std::vector<OtherName> names = {}) {
  out.push_back({.path = std::move(path),
                 .type = FieldType::Real,
                 .slot = slot,
                 .range = range,
                 .help = help,
                 .interacts = interacts,
                 .example = example,
                 .names = std::move(names)});
}

void add_bool(std::vector<Field>& out, std::string path, Slot (*slot)(Job&), std::string_view help,
              std::string_view interacts, std::string_view example) {
  out.push_back({.path = std::move(path),
                 .type = FieldType::Bool,
                 .slot = slot,
                 .help = help,
                 .interacts = interacts,
                 .example = example});
}

void add_type(std::vector<Field>& out) {
  out.push_back({.path = "model.model_type",
                 .type = FieldType::Choice,
                 .slot = WEFT_AT(model.model_type),
                 .choices = {"deepseek_v3", "llama", "qwen2", "qwen3"},
                 .help = "Whose shape it is, which an export names. deepseek_v3: latent attention, "
                         "with or without experts. The others: dense, with grouped-query "
                         "attention; qwen2 has a bias on queries, keys and values, qwen3 a norm "
                         "over each head's query and key.",
                 .interacts = "model.kv_lora_rank (0 but for deepseek_v3), model.n_routed_experts, "
                              "model.attention_bias, model.qk_norm",
                 .example = "deepseek_v3"});
}

void add_widths(std::vector<Field>& out) {
  add_int(out, "model.vocab_size", WEFT_AT(model.vocab_size), {2, 1 << 24}, "tokens",
          "Rows of the embedding and of the output head.",
          "tokenizer.kind and tokenizer.numbers say how many tokens there are", "384",
          {{"DeepSeek", "vocab_size"}});
  add_int(out, "model.hidden_size", WEFT_AT(model.hidden_size), kWidth, "",
          "Width of the residual stream.", "cost grows with its square", "128",
          {{"DeepSeek", "dim"}, {"paper", "d"}});
  add_int(out, "model.intermediate_size", WEFT_AT(model.intermediate_size), kWidth, "",
          "Inner width of a dense layer's SwiGLU.",
          "model.first_k_dense_replace says which layers are dense", "256",
          {{"DeepSeek", "inter_dim"}});
  add_int(out, "model.moe_intermediate_size", WEFT_AT(model.moe_intermediate_size), kWidth, "",
          "Inner width of one expert's SwiGLU.",
          "model.n_routed_experts, model.num_experts_per_tok", "64",
          {{"DeepSeek", "moe_inter_dim"}});
  add_int(out, "model.num_hidden_layers", WEFT_AT(model.num_hidden_layers), {1, 4096}, "",
          "Transformer layers in all.",
          "every pipeline stage needs at least one (parallel.pipeline); "
          "model.first_k_dense_replace of them are dense",
          "4", {{"DeepSeek", "n_layers"}, {"Megatron", "num_layers"}});
  add_int(out, "model.first_k_dense_replace", WEFT_AT(model.first_k_dense_replace), {0, 4096},
          "layers", "So many first layers have a dense SwiGLU instead of experts.",
          "at most model.num_hidden_layers", "1", {{"DeepSeek", "n_dense_layers"}});
  add_int(out, "model.max_position_embeddings", WEFT_AT(model.max_position_embeddings),
          {2, 1 << 20}, "tokens",
          "The longest sequence: prompt and completion, or a training context.",
          "data.context; grpo.max_completion_length", "256", {{"DeepSeek", "max_seq_len"}});
  add_bool(out, "model.tie_word_embeddings", WEFT_AT(model.tie_word_embeddings),
           "The output head is the embedding's matrix.",
           "parallel.pipeline: both ends must be on one stage", "false");
  add_int(out, "model.num_nextn_predict_layers", WEFT_AT(model.num_nextn_predict_layers), {0, 16},
          "modules", "Depth of multi-token prediction: so many more tokens are predicted.",
          "model.n_routed_experts", "1", {{"paper", "D, DeepSeek-V3 2.2"}});
}

void add_attention(std::vector<Field>& out) {
  add_int(out, "model.num_attention_heads", WEFT_AT(model.num_attention_heads), {1, 4096}, "",
          "Heads of the attention.", "model.qk_nope_head_dim, model.v_head_dim", "8",
          {{"DeepSeek", "n_heads"}});
  add_int(out, "model.q_lora_rank", WEFT_AT(model.q_lora_rank), {0, 1 << 20}, "",
          "Width of the low-rank query projection; 0: queries are projected directly.",
          "model.num_attention_heads", "64", {{"paper", "d_c'"}});
  add_int(out, "model.kv_lora_rank", WEFT_AT(model.kv_lora_rank), {0, 1 << 20}, "",
          "Width of the compressed latent that the key-value cache keeps; 0: grouped-query "
          "attention instead of latent attention.",
          "cache bytes a token = kv_lora_rank + qk_rope_head_dim", "64", {{"paper", "d_c"}});
  add_int(out, "model.qk_nope_head_dim", WEFT_AT(model.qk_nope_head_dim), kWidth, "a head",
          "Part of a query or key without position.", "model.qk_rope_head_dim", "16");
  add_int(out, "model.qk_rope_head_dim", WEFT_AT(model.qk_rope_head_dim), {2, 1 << 16}, "a head",
          "Part of a query or key that is rotated by position; even, and shared by all heads in "
          "the key.",
          "model.rope_theta", "8");
  add_int(out, "model.v_head_dim", WEFT_AT(model.v_head_dim), kWidth, "a head",
          "Width of a head's value.", "model.num_attention_heads", "16");
  add_int(out, "model.num_key_value_heads", WEFT_AT(model.num_key_value_heads), {0, 4096}, "",
          "Grouped-query attention: heads of keys and values, each shared by as many query heads "
          "as come on one.",
          "model.kv_lora_rank: 0; must divide model.num_attention_heads", "2",
          {{"Megatron", "num_query_groups"}});
  add_int(out, "model.head_dim", WEFT_AT(model.head_dim), {0, 1 << 16}, "a head",
          "Grouped-query attention: width of a query, key or value; all of it is rotated, so it "
          "is even.",
          "model.kv_lora_rank: 0", "16");
  add_bool(out, "model.attention_bias", WEFT_AT(model.attention_bias),
           "Grouped-query attention: a bias on queries, keys and values.",
           "model.model_type: qwen2 has it", "true");
  add_bool(out, "model.qk_norm", WEFT_AT(model.qk_norm),
           "Grouped-query attention: an RMSNorm over each head's query and key.",
           "model.model_type: qwen3 has it", "true");
  out.push_back(
      {.path = "model.rope_theta",
       .type = FieldType::Real,
       .slot = WEFT_AT(model.rope_theta),
       .range = {1, 1e12, true},
       .help = "Base of the rotary embedding's wave lengths; a small one suits short contexts.",
       .interacts = "model.max_position_embeddings, model.qk_rope_head_dim",
       .example = "10000"});
  out.push_back({.path = "model.rms_norm_eps",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(model.rms_norm_eps),
                 .range = {0, 1, true},
                 .help = "Added to the mean square inside RMSNorm.",
                 .interacts = "nothing",
                 .example = "1e-6"});
  out.push_back({.path = "model.initializer_range",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(model.initializer_range),
                 .range = {0, 10, true},
                 .help = "Standard deviation of the initial weights. DeepSeek-V3 was trained with "
                         "0.006, its config.json says 0.02.",
                 .interacts = "seed",
                 .example = "0.02"});
}

void add_yarn(std::vector<Field>& out) {
  add_real(out, "model.yarn_factor", WEFT_AT(model.yarn.factor), {1, 1e6},
           "YaRN: by so much the rotary positions are stretched beyond the context that the model "
           "was trained on; 1 leaves them alone.",
           "model.max_position_embeddings; the other model.yarn_ fields", "40",
           {{"DeepSeek", "rope_factor"}, {"paper", "s, YaRN"}});
  add_int(out, "model.yarn_original_max_position_embeddings",
          WEFT_AT(model.yarn.original_max_position_embeddings), {1, 1 << 24}, "tokens",
          "YaRN: the context that the model was trained on before.", "model.yarn_factor", "4096",
          {{"DeepSeek", "original_seq_len"}});
  add_real(out, "model.yarn_beta_fast", WEFT_AT(model.yarn.beta_fast), {0, 1e6, true},
           "YaRN: pairs that turn at least so often within the original context are kept as they "
           "are.",
           "at least model.yarn_beta_slow", "32", {{"paper", "beta, YaRN"}});
  add_real(out, "model.yarn_beta_slow", WEFT_AT(model.yarn.beta_slow), {0, 1e6, true},
           "YaRN: pairs that turn at most so often within the original context are stretched "
           "wholly; those between, by a ramp.",
           "at most model.yarn_beta_fast", "1", {{"paper", "alpha, YaRN"}});
  add_real(out, "model.yarn_mscale", WEFT_AT(model.yarn.mscale), {0, 1000},
           "YaRN: rotated queries and keys are multiplied by (0.1 mscale ln factor + 1) over the "
           "same with mscale_all_dim.",
           "model.yarn_mscale_all_dim", "1");
  add_real(out, "model.yarn_mscale_all_dim", WEFT_AT(model.yarn.mscale_all_dim), {0, 1000},
           "YaRN: the softmax scale is multiplied by (0.1 mscale_all_dim ln factor + 1) squared.",
           "model.yarn_mscale", "1", {{"DeepSeek", "mscale"}});
}

void add_experts(std::vector<Field>& out) {
  add_int(out, "model.n_routed_experts", WEFT_AT(model.n_routed_experts), {0, 65536}, "a layer",
          "Experts that the router chooses from; 0: every layer is dense.",
          "model.n_group and parallel.expert must divide it", "8",
          {{"Megatron", "num_experts"}, {"paper", "N_r"}});
  add_int(out, "model.n_shared_experts", WEFT_AT(model.n_shared_experts), {0, 1024}, "a layer",
          "Experts that every token passes.", "model.moe_intermediate_size", "1",
          {{"paper", "N_s"}});
  add_int(out, "model.num_experts_per_tok", WEFT_AT(model.num_experts_per_tok), {1, 65536}, "",
          "Routed experts that one token passes.", "at most the experts of model.topk_group groups",
          "2",
          {{"DeepSeek", "n_activated_experts"}, {"Megatron", "moe_router_topk"}, {"paper", "K_r"}});
  add_int(out, "model.n_group", WEFT_AT(model.n_group), {1, 65536}, "groups",
          "Groups that the experts form; a group's score is the sum of its two best.",
          "must divide model.n_routed_experts", "2",
          {{"DeepSeek", "n_expert_groups"}, {"Megatron", "moe_router_num_groups"}});
  add_int(
      out, "model.topk_group", WEFT_AT(model.topk_group), {1, 65536}, "groups",
      "Groups that a token may choose its experts from; on a cluster this bounds the nodes it "
      "visits.",
      "at most model.n_group", "2",
      {{"DeepSeek", "n_limited_groups"}, {"Megatron", "moe_router_group_topk"}, {"paper", "M"}});
  out.push_back({.path = "model.routed_scaling_factor",
                 .type = FieldType::Real,
                 .slot = WEFT_AT(model.routed_scaling_factor),
                 .range = {0, 1000, true},
                 .help = "Multiplies the chosen experts' weights.",
                 .interacts = "model.norm_topk_prob",
                 .example = "2.5",
                 .names = {{"DeepSeek", "route_scale"}}});
  out.push_back({.path = "model.norm_topk_prob",
                 .type = FieldType::Bool,
                 .slot = WEFT_AT(model.norm_topk_prob),
                 .help = "Divide the chosen experts' weights by their sum.",
                 .interacts = "model.routed_scaling_factor is applied afterwards",
                 .example = "true"});
  add_bool(
      out, "model.selection_bias", WEFT_AT(model.selection_bias),
      "Choose experts by score plus a bias that balances them; weights stay without it. false: "
      "by score alone, and a group's score is its best instead of the sum of its two best.",
      "router.bias_update_rate moves the bias", "true");
  add_real(out, "model.aux_loss_alpha", WEFT_AT(model.aux_loss_alpha), {0, 1000},
           "Weight of the sequence-wise balance loss: sum over experts of f P, where f is the "
           "share of a sequence's tokens that chose the expert over the even share, and P its mean "
           "share of their scores; mean over sequences, summed over layers. DeepSeek-V3: 0.0001.",
           "model.n_routed_experts", "0.0001", {{"paper", "alpha, DeepSeek-V3 2.1.2"}});
  out.push_back(
      {.path = "router.bias_update_rate",
       .type = FieldType::Real,
       .slot = WEFT_AT(router_bias_update_rate),
       .range = {0, 1},
       .help = "After each step an expert's selection bias rises by this much when it had less "
               "than the mean load, and falls when it had more. "
               "It balances without an auxiliary loss; 0 leaves the router alone.",
       .interacts = "model.n_routed_experts; bias is used for selection only",
       .example = "0.001",
       .names = {{"Megatron", "moe_router_bias_update_rate"}, {"paper", "γ, DeepSeek-V3 2.1.2"}}});
}

}  // namespace

void add_model_fields(std::vector<Field>& out) {
  add_type(out);
  add_widths(out);
  add_attention(out);
  add_yarn(out);
  add_experts(out);
}

}  // namespace weft::runtime

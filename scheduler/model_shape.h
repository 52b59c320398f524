// What planning has to know of a model: widths and counts, and the parameters that follow. A small
// value; runtime makes it from the trainer's ModelConfig, which this room does not know.
#pragma once

#include <string>

namespace weft::scheduler {

struct ModelShape {
  std::string name = "model";
  int layers = 1;
  int dense_layers = 0;  // so many first layers have a dense feed-forward
  int next_token = 0;    // multi-token prediction modules
  int hidden = 128, vocab = 384;
  int intermediate = 256;     // of dense layers
  int moe_intermediate = 64;  // of one expert
  int heads = 8;
  bool latent = true;                                              // MLA; else grouped-query
  int q_lora = 64, kv_lora = 64, nope = 16, rope = 8, value = 16;  // latent; q_lora 0: none
  int kv_heads = 0, head_dim = 0;                                  // grouped-query
  int experts = 0, top_k = 0, shared = 0;  // experts 0: all layers are dense
  int groups = 1, top_groups = 1;
  bool tied = false;  // the head is the embedding's matrix
  friend bool operator==(const ModelShape&, const ModelShape&) = default;

  bool is_moe(int layer) const { return experts > 0 && layer >= dense_layers; }
  int key_width() const { return latent ? nope + rope : head_dim; }
  int value_width() const { return latent ? value : head_dim; }
  int kv_per_token() const;  // cached numbers a token and layer

  // Parameters.
  double attention_linear() const;  // matrices of one block's attention
  double attention_up() const;      // of these, the MLA up-projections (recomputed with mla_up)
  double norms() const;             // vectors of one block
  double expert() const { return 3.0 * hidden * moe_intermediate; }
  double gate() const { return experts > 0 ? 1.0 * experts * hidden : 0; }
  double dense_mlp() const { return 3.0 * hidden * intermediate; }
  double embedding() const { return 1.0 * vocab * hidden; }
  double next_token_join() const { return 2.0 * hidden * hidden; }
  /// Of a block, without its routed experts; with the router's bias.
  double block_dense(bool moe) const;
  double block_experts(bool moe) const { return moe ? experts * expert() : 0; }
  double total() const;   // without next-token modules
  double active() const;  // that one token uses, embedding and head included

  /// FLOPs of a token's forward pass, multiply and add as two; next-token modules left out, as in
  /// published figures. causal: a token attends to half of the context on average.
  double forward_flops(int context, bool causal) const;
  double training_flops(int context, bool causal) const {
    return 3 * forward_flops(context, causal);
  }
};

}  // namespace weft::scheduler

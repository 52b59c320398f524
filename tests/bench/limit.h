// The floating-point limit of a model's shape: the products with its weights, by dnnl_sgemm and
// nothing else. What a training step or a decoding step would take if only these products were to
// be done.
#pragma once

#include <dnnl.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "trainer/model/config.h"

namespace weft::bench {

struct Product {
  int m, n, k;
};

/// The products of one layer's forward pass over a micro-batch of m tokens on one rank. With the
/// experts shared by `expert_shards` lanes, a rank holds 1/shards of them and each sees the tokens
/// of all lanes, spread evenly. Attention's own products (query x key, probabilities x value) are
/// left out.
inline std::vector<Product> forward_products(const trainer::ModelConfig& c, int m, bool moe,
                                             int expert_shards = 1) {
  const int q = c.num_attention_heads * (c.qk_nope_head_dim + c.qk_rope_head_dim);
  const int kv = c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim);
  const int h = c.hidden_size;
  std::vector<Product> out;
  if (c.q_lora_rank > 0) {
    out = {{m, c.q_lora_rank, h}, {m, q, c.q_lora_rank}};
  } else {
    out = {{m, q, h}};
  }
  out.push_back({m, c.kv_lora_rank + c.qk_rope_head_dim, h});
  out.push_back({m, kv, c.kv_lora_rank});
  out.push_back({m, h, c.num_attention_heads * c.v_head_dim});
  const auto mlp = [&](int rows, int width) {
    out.push_back({rows, 2 * width, h});
    out.push_back({rows, h, width});
  };
  if (!moe) {
    mlp(m, c.intermediate_size);
    return out;
  }
  out.push_back({m, c.n_routed_experts, h});
  if (c.n_shared_experts > 0) mlp(m, c.n_shared_experts * c.moe_intermediate_size);
  const int rows = std::max(1, m * expert_shards * c.num_experts_per_tok / c.n_routed_experts);
  for (int e = 0; e < c.n_routed_experts / expert_shards; ++e) mlp(rows, c.moe_intermediate_size);
  return out;
}

class Limit {
 public:
  Limit(const trainer::ModelConfig& c, int m, int expert_shards = 1) {
    for (int l = 0; l < c.num_hidden_layers; ++l) {
      for (const Product& p : forward_products(c, m, c.is_moe(l), expert_shards)) {
        products_.push_back(p);
      }
    }
    products_.push_back({m, c.vocab_size, c.hidden_size});
    for (const Product& p : products_) {
      const auto most = static_cast<std::size_t>(std::max({p.m * p.k, p.n * p.k, p.m * p.n}));
      if (a_.size() < most) a_.resize(most, 0.5f);
    }
    b_ = c_ = a_;
  }

  /// Of run_step.
  double flops() const {
    double sum = 0;
    for (const Product& p : products_) sum += 6.0 * p.m * p.n * p.k;
    return sum;
  }

  void run_forward() {
    for (const Product& p : products_) forward(p);
  }

  /// Every product three times, as a step does: forward, for the input, for the weight.
  void run_step() {
    for (const Product& p : products_) {
      forward(p);
      dnnl_sgemm('N', 'N', p.m, p.k, p.n, 1, a_.data(), p.n, b_.data(), p.k, 0, c_.data(), p.k);
      dnnl_sgemm('T', 'N', p.n, p.k, p.m, 1, a_.data(), p.n, b_.data(), p.k, 0, c_.data(), p.k);
    }
  }

 private:
  void forward(const Product& p) {
    dnnl_sgemm('N', 'T', p.m, p.n, p.k, 1, a_.data(), p.k, b_.data(), p.k, 0, c_.data(), p.n);
  }

  std::vector<Product> products_;
  std::vector<float> a_, b_, c_;
};

}  // namespace weft::bench

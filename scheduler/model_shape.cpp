#include "scheduler/model_shape.h"

#include <algorithm>

namespace weft::scheduler {

int ModelShape::kv_per_token() const { return latent ? kv_lora + rope : 2 * kv_heads * head_dim; }

double ModelShape::attention_up() const {
  if (!latent) return 0;
  const double q = q_lora > 0 ? 1.0 * q_lora * heads * (nope + rope) : 0;
  return q + 1.0 * kv_lora * heads * (nope + value);
}

double ModelShape::attention_linear() const {
  if (!latent) return 2.0 * hidden * head_dim * (heads + kv_heads);
  const double q = q_lora > 0 ? 1.0 * hidden * q_lora : 1.0 * hidden * heads * (nope + rope);
  return q + 1.0 * hidden * (kv_lora + rope) + attention_up() + 1.0 * heads * value * hidden;
}

double ModelShape::norms() const {
  return 2.0 * hidden + (latent ? (q_lora > 0 ? q_lora : 0) + kv_lora : 0);
}

double ModelShape::block_dense(bool moe) const {
  const double common = attention_linear() + norms();
  return moe ? common + gate() + experts + shared * expert() : common + dense_mlp();
}

double ModelShape::total() const {
  double sum = embedding() + hidden + (tied ? 0 : embedding());
  for (int layer = 0; layer < layers; ++layer)
    sum += block_dense(is_moe(layer)) + block_experts(is_moe(layer));
  return sum;
}

double ModelShape::active() const {
  double sum = embedding() + hidden + (tied ? 0 : embedding());
  for (int layer = 0; layer < layers; ++layer)
    sum += block_dense(is_moe(layer)) + (is_moe(layer) ? top_k * expert() : 0);
  return sum;
}

double ModelShape::forward_flops(int context, bool causal) const {
  const double linear = active() - (tied ? 0 : embedding());
  const double attention =
      1.0 * context * layers * heads * (key_width() + value_width()) * (causal ? 0.5 : 1.0);
  return 2 * (linear + attention);
}

}  // namespace weft::scheduler

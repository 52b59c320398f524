// Attention of new tokens against a cache of compressed latents, in the absorbed form: the up
// projections of keys and values are applied to the query and to the result instead of to every
// cached token, so that nothing is expanded.
// Source: DeepSeek-V2 (arXiv:2405.04434) section 2.1; DeepSeek-V3 model.py, attn_impl "absorb".
#pragma once

#include <cstdint>

#include "trainer/kernels/attention.h"

namespace weft::trainer::kernels {

/// One layer's cache of `rows` sequences: per token its normalised latent [lora] and rotated key
/// [rope]. Kept twice, by token for sums over tokens and by element for products with queries, each
/// in whole vectors.
class LatentCache {
 public:
  /// Forgets everything.
  void open(int rows, int max_length, int lora, int rope);

  std::size_t memory_bytes() const {
    return (latents_.capacity() + elements_.capacity()) * sizeof(Real);
  }
  int rows() const { return rows_; }
  int max_length() const { return max_length_; }
  int lora() const { return lora_; }
  int rope() const { return rope_; }

  template <class Act>
  void store(int row, int position, const Act* latent, const Act* key);
  /// [max_length, latent_width]: tokens' latents.
  const Real* latents(int row) const;
  int latent_width() const;
  /// [lora + rope, token_width]: element by element, all tokens.
  const Real* elements(int row) const;
  int token_width() const;

 private:
  int rows_ = 0, max_length_ = 0, lora_ = 0, rope_ = 0;
  AlignedVector latents_, elements_;
};

/// Token t attends over positions 0..positions[t] of cache row rows[t], all of which are stored.
/// q: [num_tokens, heads, nope + rope], rotated. kv_b: the up projection
/// [heads * (nope + value), lora]. out: [num_tokens, heads, value]. Equal to
/// causal_attention_forward up to rounding; a token's result depends on its own row only. Act: Real
/// or Bf16; cached and computed in Real.
template <class Act>
void mla_decode(Context& context, const AttentionShape& shape, const LatentCache& cache,
                int num_tokens, const std::int32_t* rows, const std::int32_t* positions,
                const Act* q, const Real* kv_b, Act* out);

}  // namespace weft::trainer::kernels

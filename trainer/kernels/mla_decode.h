// Attention of new tokens against a cache of compressed latents, in the absorbed form: the up
// projections of keys and values are applied to the query and to the result instead of to every
// cached token, so that the cache holds kv_lora_rank + rope numbers a token and nothing is expanded.
// Source: DeepSeek-V2 (arXiv:2405.04434) section 2.1; DeepSeek-V3 model.py, attn_impl "absorb".
#pragma once

#include <cstdint>

#include "trainer/kernels/attention.h"

namespace weft::trainer::kernels {

/// One layer's cache: row r holds its tokens' normalised latents and rotated keys,
/// [rows, max_length, lora + rope].
struct LatentCache {
  Real* data = nullptr;
  int rows = 0;
  int max_length = 0;
  int lora = 0;
  int rope = 0;

  Real* at(int row, int position) const {
    return data + (static_cast<std::ptrdiff_t>(row) * max_length + position) * (lora + rope);
  }
};

/// One token: attends over positions 0..position of cache row `row`, which are filled.
/// q: [heads, nope + rope], rotated. kv_b: the up projection [heads * (nope + value), lora].
/// out: [heads, value]. Equal to causal_attention_forward up to rounding.
void mla_decode_token(Context& context, const AttentionShape& shape, const LatentCache& cache,
                      int row, int position, const Real* q, const Real* kv_b, Real* out);

}  // namespace weft::trainer::kernels

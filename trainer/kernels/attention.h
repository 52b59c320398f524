// Causal multi-head attention over packed sequences with the keys of multi-head latent attention:
// each head has a key part of its own (nope) and shares a rotated one (rope).
#pragma once

#include <cstdint>
#include <span>

#include "trainer/kernels/context.h"

namespace weft::trainer::kernels {

struct AttentionShape {
  int heads = 0;
  int nope = 0;    // key and query elements without position, per head
  int rope = 0;    // rotated ones: per head in queries, shared by all heads in keys
  int value = 0;   // value elements per head
  Real scale = 1;  // of query-key products before the softmax
};

/// Tokens of sequence s are [sequence_begin[s], sequence_begin[s+1]); token i of a sequence sees
/// its tokens 0..i.
/// q: [tokens, heads, nope + rope], rotated; kv: [tokens, heads, nope + value]; k_rope: rows of
/// `rope` elements `ld_k_rope` apart, rotated. out: [tokens, heads, value].
/// A token's result depends on its own sequence up to itself only, bit for bit.
/// Act: Real or Bf16; computed in Real.
template <class Act>
void causal_attention_forward(Context& context, const AttentionShape& shape,
                              std::span<const std::int32_t> sequence_begin, const Act* q,
                              const Act* kv, const Act* k_rope, int ld_k_rope, Act* out);

/// Gradients of the same, overwritten; probabilities are computed anew. d_k_rope: [tokens, rope],
/// summed over heads in ascending order. Heads of sequences run on the context's threads. Scratch
/// grows with the longest sequence, not with its square.
template <class Act>
void causal_attention_backward(Context& context, const AttentionShape& shape,
                               std::span<const std::int32_t> sequence_begin, const Act* q,
                               const Act* kv, const Act* k_rope, int ld_k_rope, const Act* d_out,
                               Act* dq, Act* d_kv, Real* d_k_rope);

}  // namespace weft::trainer::kernels

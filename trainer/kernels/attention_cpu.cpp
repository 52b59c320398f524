// Blocks of queries, one query a lane: scores lie as [key, query], so that softmax runs down whole
// vectors, no operand but the block's queries is ever transposed, and blocks of keys that no query
// of the block sees are not touched. A lane's sums run over its keys in ascending order, whatever
// stands in the lanes beside it or behind it.
#include <algorithm>

#include "trainer/kernels/attention_head.h"
#include "trainer/kernels/attention_softmax.h"
#include "trainer/kernels/parallel.h"

namespace weft::trainer::kernels {

namespace {

/// Left sides: tokens by their elements; queries, and tokens, by their scores.
template <class Words>
using Tokens = LeftWords<Words, 0>;
template <class Words>
using Queries = LeftWords<Words, 1>;
template <class Words>
using Scores = LeftWords<Words, kBlock / Words::kPerWord>;

template <class Words, class Act>
void forward_block(const Head<Words>& h, int block, const Act* q, std::ptrdiff_t ldq, Real scale,
                   Act* out, std::ptrdiff_t ld_out) {
  const int first = block * kBlock, seen = first + kBlock;
  const int n = std::min(kBlock, h.length - first);
  load_block<Words>(q + first * ldq, ldq, n, h.dim, h.dim_width, false, h.q);
  word_product<Words, false>(seen, h.dim_words, kBlock,
                             Tokens<Words>{h.keys, 1, h.dim_width / Words::kPerWord}, h.q.across,
                             kBlock, h.scores, kBlock);
  const Vector inverse = Real(1) / exponentials(h.scores, seen, scale);
  to_pairs<Words>(h.scores, seen, h.p_pairs);
  word_product<Words, false>(kBlock, seen / Words::kPerWord, h.value_width,
                             Queries<Words>{h.p_pairs, kBlock}, h.value_pairs, h.value_width,
                             h.result, h.value_width);
  for (int r = 0; r < n; ++r) {
    const Real* from = h.result + r * h.value_width;
    Act* to = out + (first + r) * ld_out;
    const Real factor = inverse[r];
#pragma omp simd
    for (int d = 0; d < h.value; ++d) to[d] = Act(from[d] * factor);
  }
}

/// Adds the block's part to d_keys and d_values and writes its dq.
template <class Words, class Act>
void backward_block(const Head<Words>& h, int block, const Act* q, std::ptrdiff_t ldq, Real scale,
                    const Act* d_out, std::ptrdiff_t ld_out, Act* dq) {
  constexpr int kPer = Words::kPerWord;
  const int first = block * kBlock, seen = first + kBlock;
  const int n = std::min(kBlock, h.length - first);
  load_block<Words>(q + first * ldq, ldq, n, h.dim, h.dim_width, true, h.q);
  load_block<Words>(d_out + first * ld_out, ld_out, n, h.value, h.value_width, true, h.d_out);
  word_product<Words, false>(seen, h.dim_words, kBlock,
                             Tokens<Words>{h.keys, 1, h.dim_width / kPer}, h.q.across, kBlock,
                             h.scores, kBlock);
  word_product<Words, false>(seen, h.value_words, kBlock,
                             Tokens<Words>{h.values, 1, h.value_width / kPer}, h.d_out.across,
                             kBlock, h.d_scores, kBlock);
  softmax_backward(h, seen, scale, exponentials(h.scores, seen, scale));
  word_product<Words, true>(seen, kBlock / kPer, h.value_width, Scores<Words>{h.p_rows, 1},
                            h.d_out.pairs, h.value_width, h.d_values, h.value_width);
  word_product<Words, true>(seen, kBlock / kPer, h.dim_width, Scores<Words>{h.ds_rows, 1},
                            h.q.pairs, h.dim_width, h.d_keys, h.dim_width);
  word_product<Words, false>(kBlock, seen / kPer, h.dim_width, Queries<Words>{h.ds_pairs, kBlock},
                             h.key_pairs, h.dim_width, h.result, h.dim_width);
  for (int r = 0; r < n; ++r) {
    const Real* from = h.result + r * h.dim_width;
    Act* to = dq + (first + r) * ldq;
#pragma omp simd
    for (int d = 0; d < h.dim; ++d) to[d] = Act(from[d]);
  }
}

/// Bf16 is multiplied as it is where the machine can, and as Real elsewhere.
template <class Act>
struct WordsOf {
  typedef RealWords type;
};
#ifdef WEFT_BF16_WORDS
template <>
struct WordsOf<Bf16> {
  typedef Bf16Words type;
};
#endif

/// run(worker, sequence, head) for all of them, on the context's threads.
template <class Run>
void for_each_head(Context& context, const AttentionShape& shape,
                   std::span<const std::int32_t> sequence_begin, const Run& run) {
  const int sequences = static_cast<int>(sequence_begin.size()) - 1;
  parallel_for(context, sequences * shape.heads, [&](Context& worker, int i) {
    const auto s = static_cast<std::size_t>(i / shape.heads);
    if (sequence_begin[s + 1] > sequence_begin[s]) run(worker, s, i % shape.heads);
  });
}

struct Strides {
  std::ptrdiff_t q, kv, out;
  explicit Strides(const AttentionShape& s)
      : q(static_cast<std::ptrdiff_t>(s.heads) * (s.nope + s.rope)),
        kv(static_cast<std::ptrdiff_t>(s.heads) * (s.nope + s.value)),
        out(static_cast<std::ptrdiff_t>(s.heads) * s.value) {}
};

/// d_k_rope [tokens, rope] = the sum of [heads, tokens, rope] over heads in ascending order.
void sum_heads(const Real* parts, int heads, std::size_t n, Real* d_k_rope) {
  std::copy_n(parts, n, d_k_rope);
  for (int h = 1; h < heads; ++h) {
    parts += n;
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i) d_k_rope[i] += parts[i];
  }
}

/// The head's gradients of keys and values go to where the activations have them.
template <class Words, class Act>
void store_tokens(const AttentionShape& shape, const Head<Words>& h, Act* d_kv,
                  std::ptrdiff_t ld_kv, Real* d_k_rope) {
  for (int j = 0; j < h.length; ++j, d_kv += ld_kv, d_k_rope += shape.rope) {
    const Real* key = h.d_keys + static_cast<std::ptrdiff_t>(j) * h.dim_width;
    const Real* value = h.d_values + static_cast<std::ptrdiff_t>(j) * h.value_width;
#pragma omp simd
    for (int d = 0; d < shape.nope; ++d) d_kv[d] = Act(key[d]);
#pragma omp simd
    for (int d = 0; d < shape.value; ++d) d_kv[shape.nope + d] = Act(value[d]);
    std::copy_n(key + shape.nope, shape.rope, d_k_rope);
  }
}

}  // namespace

template <class Act>
void causal_attention_forward(Context& context, const AttentionShape& shape,
                              std::span<const std::int32_t> sequence_begin, const Act* q,
                              const Act* kv, const Act* k_rope, int ld_k_rope, Act* out) {
  typedef typename WordsOf<Act>::type Words;
  const Strides ld(shape);
  for_each_head(context, shape, sequence_begin, [&](Context& worker, std::size_t s, int head) {
    const std::ptrdiff_t begin = sequence_begin[s];
    const auto h =
        make_head<Words>(worker, shape, sequence_begin[s + 1] - sequence_begin[s], false);
    load_tokens<Words>(shape, kv + begin * ld.kv + head * (shape.nope + shape.value), ld.kv,
                       k_rope + begin * ld_k_rope, ld_k_rope, h, false);
    for (int block = 0; block < h.blocks; ++block) {
      forward_block(h, block, q + begin * ld.q + head * h.dim, ld.q, shape.scale,
                    out + begin * ld.out + head * shape.value, ld.out);
    }
  });
}

template <class Act>
void causal_attention_backward(Context& context, const AttentionShape& shape,
                               std::span<const std::int32_t> sequence_begin, const Act* q,
                               const Act* kv, const Act* k_rope, int ld_k_rope, const Act* d_out,
                               Act* dq, Act* d_kv, Real* d_k_rope) {
  typedef typename WordsOf<Act>::type Words;
  const Strides ld(shape);
  const auto rope_size = static_cast<std::size_t>(sequence_begin.back() * shape.rope);
  Real* parts = context.scratch(4, rope_size * static_cast<std::size_t>(shape.heads)).data();
  for_each_head(context, shape, sequence_begin, [&](Context& worker, std::size_t s, int head) {
    const std::ptrdiff_t begin = sequence_begin[s];
    const std::ptrdiff_t at_q = begin * ld.q + head * (shape.nope + shape.rope);
    const std::ptrdiff_t at_kv = begin * ld.kv + head * (shape.nope + shape.value);
    const auto h = make_head<Words>(worker, shape, sequence_begin[s + 1] - sequence_begin[s], true);
    load_tokens<Words>(shape, kv + at_kv, ld.kv, k_rope + begin * ld_k_rope, ld_k_rope, h, true);
    std::fill_n(h.d_keys, h.blocks * kBlock * (h.dim_width + h.value_width), Real(0));
    for (int block = 0; block < h.blocks; ++block) {
      backward_block(h, block, q + at_q, ld.q, shape.scale,
                     d_out + begin * ld.out + head * shape.value, ld.out, dq + at_q);
    }
    store_tokens(shape, h, d_kv + at_kv, ld.kv,
                 parts + static_cast<std::size_t>(head) * rope_size + begin * shape.rope);
  });
  sum_heads(parts, shape.heads, rope_size, d_k_rope);
}

#define WEFT_INSTANTIATE(Act)                                                                 \
  template void causal_attention_forward<Act>(Context&, const AttentionShape&,                \
                                              std::span<const std::int32_t>, const Act*,      \
                                              const Act*, const Act*, int, Act*);             \
  template void causal_attention_backward<Act>(                                               \
      Context&, const AttentionShape&, std::span<const std::int32_t>, const Act*, const Act*, \
      const Act*, int, const Act*, Act*, Act*, Real*);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer::kernels

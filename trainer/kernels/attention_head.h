// What attention works on: one head of one sequence, and a block of its queries, copied out of the
// activations into the words of tile_product.h. Inside attention_cpu.cpp only.
#pragma once

#include <algorithm>

#include "trainer/kernels/attention.h"
#include "trainer/kernels/tile_product.h"

namespace weft::trainer::kernels {

constexpr int kBlock = kLanes;  // queries at a time, one a lane

template <class Words, class Act>
typename Words::Element element(Act x) {
  if constexpr (Words::kPerWord == 2) {
    return x.bits;
  } else {
    return Real(x);
  }
}

/// Two parts behind each other into a row of `width` elements, zeros behind them.
template <class Words, class Act>
void load_row(const Act* first, int n_first, const Act* second, int n_second, int width,
              typename Words::Word* row) {
  auto* to = reinterpret_cast<typename Words::Element*>(row);
  for (int i = 0; i < n_first; ++i) to[i] = element<Words>(first[i]);
  for (int i = 0; i < n_second; ++i) to[n_first + i] = element<Words>(second[i]);
  for (int i = n_first + n_second; i < width; ++i) to[i] = 0;
}

/// Rows [n, width] of single elements become [n / 2, width] words of two rows' elements.
template <class Words>
void pair_rows(const typename Words::Word* rows, int n, int width, typename Words::Word* pairs) {
  const auto* from = reinterpret_cast<const typename Words::Element*>(rows);
  for (int i = 0; i < n / 2; ++i, from += 2 * width, pairs += width) {
#pragma omp simd
    for (int d = 0; d < width; ++d) {
      pairs[d] = static_cast<typename Words::Word>(
          static_cast<std::uint32_t>(from[width + d]) << 16 | from[d]);
    }
  }
}

/// kBlock queries, or gradients of their results: by row, by element, and by pairs of rows.
template <class Words>
struct Block {
  typename Words::Word *rows, *across, *pairs;
};

template <class Words, class Act>
void load_block(const Act* from, std::ptrdiff_t ld, int n, int dim, int width, bool paired,
                const Block<Words>& block) {
  const int words = width / Words::kPerWord;
  for (int r = 0; r < kBlock; ++r, from += ld) {
    load_row<Words, Act>(from, r < n ? dim : 0, nullptr, 0, width, block.rows + r * words);
  }
  const int used = (dim + Words::kPerWord - 1) / Words::kPerWord;
  for (int d = 0; d < used; ++d) {
    for (int r = 0; r < kBlock; ++r) block.across[d * kBlock + r] = block.rows[r * words + d];
  }
  if constexpr (Words::kPerWord == 2) {
    if (paired) pair_rows<Words>(block.rows, kBlock, width, block.pairs);
  }
}

/// Keys and values of one head of one sequence, and the memory that its blocks work in.
template <class Words>
struct Head {
  typedef typename Words::Word Word;
  int length, blocks;
  int dim, dim_width, dim_words;  // query-key elements; in whole vectors; words that hold them
  int value, value_width, value_words;
  Word *keys, *key_pairs;      // [tokens, dim_width], by pairs of tokens
  Word *values, *value_pairs;  // [tokens, value_width]
  Block<Words> q, d_out;
  Real *scores, *d_scores;   // [tokens, kBlock]
  Word *p_rows, *ds_rows;    // the same as words along the queries
  Word *p_pairs, *ds_pairs;  // and along the tokens
  Real *d_keys, *d_values;   // [tokens, dim_width], [tokens, value_width]
  Real* result;              // [kBlock, the wider of the two]
};

/// Cuts one piece of memory into arrays.
class Cutter {
 public:
  Cutter(Context& context, int slot, std::size_t n) : at_(context.scratch(slot, n).data()) {}
  template <class T>
  void cut(T*& array, std::size_t n) {
    array = reinterpret_cast<T*>(at_);
    at_ += n;
  }

 private:
  Real* at_;
};

template <class Words>
Head<Words> make_head(Context& context, const AttentionShape& shape, int length, bool backward) {
  constexpr bool kPaired = Words::kPerWord == 2;
  Head<Words> h{};
  h.length = length;
  h.blocks = (length + kBlock - 1) / kBlock;
  h.dim = shape.nope + shape.rope;
  h.dim_width = padded(h.dim);
  h.dim_words = (h.dim + Words::kPerWord - 1) / Words::kPerWord;
  h.value = shape.value;
  h.value_width = padded(shape.value);
  h.value_words = (h.value + Words::kPerWord - 1) / Words::kPerWord;
  const auto n = static_cast<std::size_t>(h.blocks * kBlock);
  const auto dim = static_cast<std::size_t>(h.dim_width);
  const auto value = static_cast<std::size_t>(h.value_width), block = std::size_t{kBlock};
  Cutter tokens(context, 0, (kPaired ? 2 : 1) * n * (dim + value));
  tokens.cut(h.keys, n * dim);
  tokens.cut(h.values, n * value);
  h.key_pairs = h.keys;
  h.value_pairs = h.values;
  if (kPaired) tokens.cut(h.key_pairs, n * dim);
  if (kPaired) tokens.cut(h.value_pairs, n * value);
  Cutter blocks(context, 1, 3 * block * (dim + value) + block * std::max(dim, value));
  for (auto** array : {&h.q.rows, &h.q.across, &h.q.pairs}) blocks.cut(*array, block * dim);
  for (auto** array : {&h.d_out.rows, &h.d_out.across, &h.d_out.pairs}) {
    blocks.cut(*array, block * value);
  }
  blocks.cut(h.result, block * std::max(dim, value));
  if (!kPaired) h.q.pairs = h.q.rows, h.d_out.pairs = h.d_out.rows;
  Cutter scores(context, 2, (kPaired ? 6 : 2) * n * block);
  scores.cut(h.scores, n * block);
  scores.cut(h.d_scores, n * block);
  h.p_rows = h.p_pairs = reinterpret_cast<typename Words::Word*>(h.scores);
  h.ds_rows = h.ds_pairs = reinterpret_cast<typename Words::Word*>(h.d_scores);
  if (kPaired) {
    for (auto** array : {&h.p_rows, &h.p_pairs, &h.ds_rows, &h.ds_pairs}) {
      scores.cut(*array, n * block);
    }
  }
  if (!backward) return h;
  Cutter gradients(context, 3, n * (dim + value));
  gradients.cut(h.d_keys, n * dim);
  gradients.cut(h.d_values, n * value);
  return h;
}

/// kv, k_rope: at the sequence's first token; kv at this head.
template <class Words, class Act>
void load_tokens(const AttentionShape& shape, const Act* kv, std::ptrdiff_t ld_kv,
                 const Act* k_rope, std::ptrdiff_t ld_k_rope, const Head<Words>& h, bool backward) {
  const int dim_words = h.dim_width / Words::kPerWord;
  const int value_words = h.value_width / Words::kPerWord;
  for (int j = 0; j < h.blocks * kBlock; ++j, kv += ld_kv, k_rope += ld_k_rope) {
    const bool there = j < h.length;
    load_row<Words>(kv, there ? shape.nope : 0, k_rope, there ? shape.rope : 0, h.dim_width,
                    h.keys + j * dim_words);
    load_row<Words>(kv + shape.nope, there ? shape.value : 0, kv, 0, h.value_width,
                    h.values + j * value_words);
  }
  if constexpr (Words::kPerWord == 2) {
    if (backward) pair_rows<Words>(h.keys, h.blocks * kBlock, h.dim_width, h.key_pairs);
    pair_rows<Words>(h.values, h.blocks * kBlock, h.value_width, h.value_pairs);
  }
}

}  // namespace weft::trainer::kernels

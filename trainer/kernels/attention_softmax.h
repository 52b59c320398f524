// The softmax of a block of queries, one query a lane, forward and backward: scores lie as [key,
// query], so that it runs down whole vectors. Part of attention_cpu.cpp.
#pragma once

#include <cstdint>

#include "trainer/kernels/attention_head.h"

namespace weft::trainer::kernels {

inline Vector lane_index() {
  Vector index = {};
  for (int i = 0; i < kLanes; ++i) index[i] = static_cast<Real>(i);
  return index;
}

inline Vector& row(Real* rows, int j) { return *reinterpret_cast<Vector*>(rows + j * kBlock); }

/// The scores of `seen` keys, of which the last kBlock are the block's own, become
/// e^(scale * (score - largest)), zero where a query does not see its key. Returns their sum.
inline Vector exponentials(Real* scores, int seen, Real scale) {
  const int first = seen - kBlock;
  const Vector index = lane_index();
  Vector largest = row(scores, 0);
  for (int j = 1; j < first; ++j) {
    const Vector s = row(scores, j);
    largest = s > largest ? s : largest;
  }
  for (int i = 0; i < kBlock; ++i) {
    const Vector s = row(scores, first + i);
    largest = (index >= static_cast<Real>(i)) & (s > largest) ? s : largest;
  }
  Vector sum = {};
  for (int j = 0; j < first; ++j) {
    const Vector e = vector_exp((row(scores, j) - largest) * scale);
    row(scores, j) = e;
    sum += e;
  }
  for (int i = 0; i < kBlock; ++i) {
    const Vector e = vector_exp((row(scores, first + i) - largest) * scale);
    row(scores, first + i) = index >= static_cast<Real>(i) ? e : Vector{};
    sum += row(scores, first + i);
  }
  return sum;
}

#ifdef WEFT_BF16_WORDS
typedef std::uint32_t WordRow __attribute__((vector_size(64), aligned(4), may_alias));
typedef std::uint16_t HalfRow __attribute__((vector_size(32)));

/// Sixteen numbers as Bf16, each in the lower half of its word.
inline WordRow to_words(Vector x) {
  const __m256bh half = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(x));
  return __builtin_convertvector(reinterpret_cast<HalfRow>(half), WordRow);
}
inline void store_half(Vector x, void* to) {
  const __m256bh half = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(x));
  _mm256_storeu_si256(static_cast<__m256i*>(to), reinterpret_cast<__m256i>(half));
}
#endif

/// Rows of numbers as the words of products along the keys (pairs) and along the queries (rows).
template <class Words>
void to_pairs([[maybe_unused]] const Real* from, [[maybe_unused]] int n,
              [[maybe_unused]] typename Words::Word* pairs) {
#ifdef WEFT_BF16_WORDS
  if constexpr (Words::kPerWord == 2) {
    for (int j = 0; j < n; j += 2, from += 2 * kBlock, pairs += kBlock) {
      const auto* both = reinterpret_cast<const Vector*>(from);
      *reinterpret_cast<WordRow*>(pairs) = to_words(both[0]) | to_words(both[1]) << 16;
    }
  }
#endif
}

template <class Words>
void to_rows([[maybe_unused]] Vector x, [[maybe_unused]] int j,
             [[maybe_unused]] typename Words::Word* rows) {
#ifdef WEFT_BF16_WORDS
  if constexpr (Words::kPerWord == 2) store_half(x, rows + j * (kBlock / 2));
#endif
}

/// From e^... and the gradients of probabilities: probabilities and the gradients of unscaled
/// scores, scale * p * (dp - sum(p dp)), in the same places and as words.
template <class Words>
void softmax_backward(const Head<Words>& h, int seen, Real scale, Vector sum) {
  const Vector inverse = Real(1) / sum;
  Vector dot = {};
  for (int j = 0; j < seen; ++j) dot += row(h.scores, j) * row(h.d_scores, j);
  dot *= inverse;
  for (int j = 0; j < seen; ++j) {
    const Vector p = row(h.scores, j) * inverse;
    const Vector ds = (row(h.d_scores, j) - dot) * p * scale;
    if constexpr (Words::kPerWord == 1) row(h.scores, j) = p;
    row(h.d_scores, j) = ds;
    to_rows<Words>(p, j, h.p_rows);
    to_rows<Words>(ds, j, h.ds_rows);
  }
  to_pairs<Words>(h.d_scores, seen, h.ds_pairs);
}

}  // namespace weft::trainer::kernels

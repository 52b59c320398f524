// Products of matrices a few dozen wide whose operands the caller has laid out, in registers.
// Sums run in ascending inner index, so that a result does not depend on the sizes around it.
//
// Operands are made of words: one Real, or two Bf16 that stand next to each other along the inner
// index, multiplied and added in float by one instruction where the machine has it (AVX512-BF16).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include "trainer/kernels/vector_math.h"

namespace weft::trainer::kernels {

struct RealWords {
  typedef Real Word;
  typedef Vector WordVector;
  typedef Real Element;
  static constexpr int kPerWord = 1;
  static Vector multiply_add(Word left, WordVector right, Vector sum) { return sum + right * left; }
};

#if defined(__AVX512BF16__) && !defined(WEFT_REAL_DOUBLE)
#define WEFT_BF16_WORDS 1
struct Bf16Words {
  typedef std::uint32_t Word __attribute__((may_alias));
  typedef std::uint32_t WordVector
      __attribute__((vector_size(64), aligned(sizeof(Real)), may_alias));
  typedef std::uint16_t Element __attribute__((may_alias));
  static constexpr int kPerWord = 2;
  static Vector multiply_add(Word left, WordVector right, Vector sum) {
    const auto both = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(left)));
    return reinterpret_cast<Vector>(
        _mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), both, reinterpret_cast<__m512bh>(right)));
  }
};
#endif

/// Word (row, inner) is data[row * row_stride + inner * inner_stride]. kRowStride: row_stride where
/// it is known, else 0.
template <class Words, int kRowStride>
struct LeftWords {
  const typename Words::Word* data;
  std::ptrdiff_t inner_stride;
  std::ptrdiff_t row_stride = kRowStride;
};

template <class Words, bool kAdd, int kRows, int kVectors, int kRowStride>
inline void word_tile(int inner, const LeftWords<Words, kRowStride>& a,
                      const typename Words::Word* b, std::ptrdiff_t ldb, Real* c,
                      std::ptrdiff_t ldc) {
  typedef typename Words::WordVector Right;
  Vector sum[kRows][kVectors] = {};
  if constexpr (kAdd) {
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        sum[r][v] = *reinterpret_cast<const Vector*>(c + r * ldc + v * kLanes);
      }
    }
  }
  for (int k = 0; k < inner; ++k) {
    Right right[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      right[v] = *reinterpret_cast<const Right*>(b + k * ldb + v * kLanes);
    }
    const typename Words::Word* left = a.data + k * a.inner_stride;
    std::ptrdiff_t step = a.row_stride;
    // Walks from row to row: a pointer a row would not fit into the registers, and the compiler,
    // seeing that the distances are the same in every turn, would keep them all.
    if constexpr (kRowStride == 0) asm("" : "+r"(step));
    for (int r = 0; r < kRows; ++r, left += step) {
      for (int v = 0; v < kVectors; ++v) {
        sum[r][v] = Words::multiply_add(*left, right[v], sum[r][v]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      *reinterpret_cast<Vector*>(c + r * ldc + v * kLanes) = sum[r][v];
    }
  }
}

template <class Words, bool kAdd, int kRows, int kRowStride>
inline void word_rows(int inner, int n, const LeftWords<Words, kRowStride>& a,
                      const typename Words::Word* b, std::ptrdiff_t ldb, Real* c,
                      std::ptrdiff_t ldc) {
  int column = 0;
  for (; column + 3 * kLanes <= n; column += 3 * kLanes) {
    word_tile<Words, kAdd, kRows, 3>(inner, a, b + column, ldb, c + column, ldc);
  }
  if (column + 2 * kLanes <= n) {
    word_tile<Words, kAdd, kRows, 2>(inner, a, b + column, ldb, c + column, ldc);
  } else if (column < n) {
    word_tile<Words, kAdd, kRows, 1>(inner, a, b + column, ldb, c + column, ldc);
  }
}

/// c [rows, n] = a [rows, inner words] b [inner words, n], or += with kAdd. rows and n are
/// multiples of kLanes; rows of b and c have room for it.
template <class Words, bool kAdd, int kRowStride>
inline void word_product(int rows, int inner, int n, LeftWords<Words, kRowStride> a,
                         const typename Words::Word* b, std::ptrdiff_t ldb, Real* c,
                         std::ptrdiff_t ldc) {
  if (n == kLanes) {  // one vector a row: more rows, so that sums do not wait for each other
    for (; rows > 0; rows -= kLanes, a.data += kLanes * a.row_stride, c += kLanes * ldc) {
      word_tile<Words, kAdd, kLanes, 1>(inner, a, b, ldb, c, ldc);
    }
    return;
  }
  for (; rows > 0; rows -= 8, a.data += 8 * a.row_stride, c += 8 * ldc) {
    word_rows<Words, kAdd, 8>(inner, n, a, b, ldb, c, ldc);
  }
}

/// Words of a and b in turn, from the word `begin` of each on.
template <int begin, class WordVector, std::size_t... i>
inline WordVector interleave(WordVector a, WordVector b, std::index_sequence<i...>) {
  return __builtin_shufflevector(a, b, (begin + i / 2 + (i % 2) * kLanes)...);
}

/// Transposes kLanes rows of kLanes words: a perfect shuffle of halves for every doubling.
template <class WordVector>
inline void transpose(WordVector* rows) {
  constexpr auto kWords = std::make_index_sequence<kLanes>();
  for (int done = 1; done < kLanes; done *= 2) {
    WordVector shuffled[kLanes];
    for (int i = 0; i < kLanes / 2; ++i) {
      shuffled[2 * i] = interleave<0>(rows[i], rows[i + kLanes / 2], kWords);
      shuffled[2 * i + 1] = interleave<kLanes / 2>(rows[i], rows[i + kLanes / 2], kWords);
    }
    for (int i = 0; i < kLanes; ++i) rows[i] = shuffled[i];
  }
}

}  // namespace weft::trainer::kernels

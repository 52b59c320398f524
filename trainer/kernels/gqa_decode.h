// Attention of new tokens against a cache of keys and values that several query heads share.
#pragma once

#include <cstdint>

#include "trainer/kernels/aligned.h"
#include "trainer/kernels/context.h"

namespace weft::trainer::kernels {

/// One layer's cache of `rows` sequences: per token and key-value head its rotated key and its
/// value, `dim` elements each.
class HeadCache {
 public:
  /// Forgets everything.
  void open(int rows, int max_length, int heads, int dim);

  std::size_t memory_bytes() const {
    return (keys_.capacity() + values_.capacity()) * sizeof(Real);
  }
  int heads() const { return heads_; }
  int dim() const { return dim_; }

  /// key, value: [heads, dim].
  template <class Act>
  void store(int row, int position, const Act* key, const Act* value);
  /// [max_length, dim]: one head's keys or values, token by token.
  const Real* keys(int row, int head) const;
  const Real* values(int row, int head) const;

 private:
  std::ptrdiff_t place(int row, int head) const {
    return (static_cast<std::ptrdiff_t>(row) * heads_ + head) * max_length_ * dim_;
  }
  int rows_ = 0, max_length_ = 0, heads_ = 0, dim_ = 0;
  AlignedVector keys_, values_;
};

/// Token t attends over positions 0..positions[t] of cache row rows[t], all of which are stored;
/// query head h uses key-value head h * cache.heads() / heads. q, out: [num_tokens, heads, dim].
/// Equal to causal_attention_forward up to rounding; a token's result depends on its own row only.
template <class Act>
void gqa_decode(Context& context, const HeadCache& cache, int heads, Real scale, int num_tokens,
                const std::int32_t* rows, const std::int32_t* positions, const Act* q, Act* out);

}  // namespace weft::trainer::kernels

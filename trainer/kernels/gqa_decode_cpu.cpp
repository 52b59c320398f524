#include <algorithm>

#include "base/check.h"
#include "base/small_floats.h"
#include "trainer/kernels/gqa_decode.h"
#include "trainer/kernels/vector_math.h"

namespace weft::trainer::kernels {

void HeadCache::open(int rows, int max_length, int heads, int dim) {
  rows_ = rows;
  max_length_ = max_length;
  heads_ = heads;
  dim_ = dim;
  const std::size_t all = static_cast<std::size_t>(rows) * static_cast<std::size_t>(max_length) *
                          static_cast<std::size_t>(heads * dim);
  keys_.assign(all, Real(0));
  values_.assign(all, Real(0));
}

const Real* HeadCache::keys(int row, int head) const { return keys_.data() + place(row, head); }
const Real* HeadCache::values(int row, int head) const { return values_.data() + place(row, head); }

template <class Act>
void HeadCache::store(int row, int position, const Act* key, const Act* value) {
  WEFT_CHECK(row >= 0 && row < rows_ && position >= 0 && position < max_length_,
             "row " + std::to_string(row) + ", position " + std::to_string(position) +
                 " outside the cache");
  for (int h = 0; h < heads_; ++h) {
    const std::ptrdiff_t at = place(row, h) + static_cast<std::ptrdiff_t>(position) * dim_;
    for (int d = 0; d < dim_; ++d) {
      keys_[static_cast<std::size_t>(at + d)] = Real(key[h * dim_ + d]);
      values_[static_cast<std::size_t>(at + d)] = Real(value[h * dim_ + d]);
    }
  }
}

namespace {

/// scores[j] = scale * query . keys[j], then their softmax.
void weigh(const Real* query, const Real* keys, int dim, int n, Real scale, Real* scores) {
  Real largest = 0;
  for (int j = 0; j < n; ++j, keys += dim) {
    Real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int d = 0; d < dim; ++d) sum += query[d] * keys[d];
    scores[j] = sum * scale;
    largest = j == 0 ? scores[0] : std::max(largest, scores[j]);
  }
  Real sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int j = 0; j < n; ++j) {
    scores[j] = vector_exp(scores[j] - largest);
    sum += scores[j];
  }
  for (int j = 0; j < n; ++j) scores[j] /= sum;
}

}  // namespace

template <class Act>
void gqa_decode(Context& context, const HeadCache& cache, int heads, Real scale, int num_tokens,
                const std::int32_t* rows, const std::int32_t* positions, const Act* q, Act* out) {
  const int dim = cache.dim(), shared = heads / cache.heads();
  Real* query = context.scratch(0, 2 * static_cast<std::size_t>(dim)).data();
  Real* sum = query + dim;
  for (int t = 0; t < num_tokens; ++t) {
    const int n = positions[t] + 1;
    Real* scores = context.scratch(1, static_cast<std::size_t>(n)).data();
    for (int h = 0; h < heads; ++h, q += dim, out += dim) {
      for (int d = 0; d < dim; ++d) query[d] = Real(q[d]);
      weigh(query, cache.keys(rows[t], h / shared), dim, n, scale, scores);
      std::fill_n(sum, dim, Real(0));
      const Real* value = cache.values(rows[t], h / shared);
      for (int j = 0; j < n; ++j, value += dim) {
        for (int d = 0; d < dim; ++d) sum[d] += scores[j] * value[d];
      }
      for (int d = 0; d < dim; ++d) out[d] = Act(sum[d]);
    }
  }
}

#define WEFT_INSTANTIATE(Act)                                                                    \
  template void HeadCache::store<Act>(int, int, const Act*, const Act*);                         \
  template void gqa_decode<Act>(Context&, const HeadCache&, int, Real, int, const std::int32_t*, \
                                const std::int32_t*, const Act*, Act*);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer::kernels

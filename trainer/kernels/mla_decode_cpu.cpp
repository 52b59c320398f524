#include <algorithm>
#include <type_traits>

#include "base/check.h"
#include "trainer/kernels/mla_decode.h"
#include "trainer/kernels/small_product.h"

namespace weft::trainer::kernels {

void LatentCache::open(int rows, int max_length, int lora, int rope) {
  rows_ = rows;
  max_length_ = max_length;
  lora_ = lora;
  rope_ = rope;
  const auto row_count = static_cast<std::size_t>(rows);
  latents_.assign(row_count * static_cast<std::size_t>(max_length * latent_width()), Real(0));
  elements_.assign(row_count * static_cast<std::size_t>((lora + rope) * token_width()), Real(0));
}

int LatentCache::latent_width() const { return padded(lora_); }
int LatentCache::token_width() const { return padded(max_length_); }

const Real* LatentCache::latents(int row) const {
  return latents_.data() + static_cast<std::ptrdiff_t>(row) * max_length_ * latent_width();
}
const Real* LatentCache::elements(int row) const {
  return elements_.data() + static_cast<std::ptrdiff_t>(row) * (lora_ + rope_) * token_width();
}

template <class Act>
void LatentCache::store(int row, int position, const Act* latent, const Act* key) {
  WEFT_CHECK(row >= 0 && row < rows_ && position >= 0 && position < max_length_,
             "row " + std::to_string(row) + ", position " + std::to_string(position) +
                 " outside the cache");
  Real* by_token = latents_.data() +
                   (static_cast<std::ptrdiff_t>(row) * max_length_ + position) * latent_width();
  for (int d = 0; d < lora_; ++d) by_token[d] = Real(latent[d]);
  const int width = token_width();
  Real* by_element =
      elements_.data() + static_cast<std::ptrdiff_t>(row) * (lora_ + rope_) * width + position;
  for (int d = 0; d < lora_; ++d) by_element[d * width] = Real(latent[d]);
  for (int d = 0; d < rope_; ++d) by_element[(lora_ + d) * width] = Real(key[d]);
}

namespace {

/// Softmax of scale * row over its first n elements, in whole vectors; zeros behind them.
void softmax(Real* row, int n, Real scale) {
  const int width = padded(n);
  Real largest = row[0];
  for (int j = 0; j < n; ++j) largest = row[j] > largest ? row[j] : largest;
  Real sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int j = 0; j < width; ++j) {
    const Real e = vector_exp((row[j] - largest) * scale);
    row[j] = j < n ? e : Real(0);
    sum += row[j];
  }
  const Real inverse = Real(1) / sum;
#pragma omp simd
  for (int j = 0; j < width; ++j) row[j] *= inverse;
}

/// Where the intermediate values of all tokens and heads lie.
struct Work {
  int query_width, latent_width, out_width;
  Real* query;   // [tokens, heads, query_width]: query against latents, then the rotated part
  Real* latent;  // [tokens, heads, latent_width]: the attended latent
  Real* up;      // one head's up projection in whole vectors
  Real* scores;  // [heads, token_width]
  Real* result;  // [tokens, out_width] of one head
};

Work make_work(Context& context, const AttentionShape& shape, const LatentCache& cache, int n) {
  Work work{};
  work.latent_width = cache.latent_width();
  work.query_width = work.latent_width + cache.rope();
  work.out_width = padded(shape.value);
  const auto heads = static_cast<std::size_t>(n) * static_cast<std::size_t>(shape.heads);
  work.query = context.scratch(0, heads * static_cast<std::size_t>(work.query_width)).data();
  work.latent = context.scratch(1, heads * static_cast<std::size_t>(work.latent_width)).data();
  work.up = context
                .scratch(2, static_cast<std::size_t>(std::max(shape.nope * work.latent_width,
                                                              cache.lora() * work.out_width)))
                .data();
  work.scores =
      context.scratch(3, static_cast<std::size_t>(shape.heads * cache.token_width())).data();
  work.result = context.scratch(4, static_cast<std::size_t>(n * work.out_width)).data();
  return work;
}

/// query = q_nope times the keys' up projection, and the rotated part behind it.
void absorb_keys(const AttentionShape& shape, const LatentCache& cache, int n, const Real* q,
                 const Real* kv_b, const Work& work) {
  const int qk = shape.nope + shape.rope, lora = cache.lora();
  const std::ptrdiff_t ldq = static_cast<std::ptrdiff_t>(shape.heads) * qk;
  const std::ptrdiff_t ld_query = static_cast<std::ptrdiff_t>(shape.heads) * work.query_width;
  for (int h = 0; h < shape.heads; ++h) {
    const Real* up = kv_b + static_cast<std::ptrdiff_t>(h) * (shape.nope + shape.value) * lora;
    for (int d = 0; d < shape.nope; ++d) {
      std::copy_n(up + d * lora, lora, work.up + d * work.latent_width);
      std::fill_n(work.up + d * work.latent_width + lora, work.latent_width - lora, Real(0));
    }
    Real* query = work.query + h * work.query_width;
    small_product(n, shape.nope, work.latent_width, {q + h * qk, ldq, 1}, work.up,
                  work.latent_width, query, ld_query);
    for (int t = 0; t < n; ++t) {
      std::copy_n(q + t * ldq + h * qk + shape.nope, shape.rope, query + t * ld_query + lora);
    }
  }
}

/// out = attended latent times the values' up projection.
template <class Act>
void absorb_values(const AttentionShape& shape, const LatentCache& cache, int n, const Real* kv_b,
                   const Work& work, Act* out) {
  const int lora = cache.lora();
  const std::ptrdiff_t ld_latent = static_cast<std::ptrdiff_t>(shape.heads) * work.latent_width;
  for (int h = 0; h < shape.heads; ++h) {
    const Real* up =
        kv_b + (static_cast<std::ptrdiff_t>(h) * (shape.nope + shape.value) + shape.nope) * lora;
    for (int k = 0; k < lora; ++k) {
      for (int d = 0; d < work.out_width; ++d) {
        work.up[k * work.out_width + d] = d < shape.value ? up[d * lora + k] : Real(0);
      }
    }
    small_product(n, lora, work.out_width, {work.latent + h * work.latent_width, ld_latent, 1},
                  work.up, work.out_width, work.result, work.out_width);
    for (int t = 0; t < n; ++t) {
      Act* to = out + (static_cast<std::ptrdiff_t>(t) * shape.heads + h) * shape.value;
      for (int d = 0; d < shape.value; ++d) to[d] = Act(work.result[t * work.out_width + d]);
    }
  }
}

/// The numbers themselves, or their copies in Real.
template <class Act>
const Real* in_real(Context& context, const Act* values, std::size_t n) {
  if constexpr (std::is_same_v<Act, Real>) {
    return values;
  } else {
    Real* copy = context.scratch(5, n).data();
#pragma omp simd
    for (std::size_t i = 0; i < n; ++i) copy[i] = Real(values[i]);
    return copy;
  }
}

}  // namespace

template <class Act>
void mla_decode(Context& context, const AttentionShape& shape, const LatentCache& cache,
                int num_tokens, const std::int32_t* rows, const std::int32_t* positions,
                const Act* q_kept, const Real* kv_b, Act* out) {
  const auto q_size = static_cast<std::size_t>(num_tokens) *
                      static_cast<std::size_t>(shape.heads * (shape.nope + shape.rope));
  const Real* q = in_real(context, q_kept, q_size);
  const Work work = make_work(context, shape, cache, num_tokens);
  const int token_width = cache.token_width();
  absorb_keys(shape, cache, num_tokens, q, kv_b, work);
  for (int t = 0; t < num_tokens; ++t) {
    const int length = positions[t] + 1;
    const std::ptrdiff_t first_head = static_cast<std::ptrdiff_t>(t) * shape.heads;
    small_product(shape.heads, cache.lora() + cache.rope(), padded(length),
                  {work.query + first_head * work.query_width, work.query_width, 1},
                  cache.elements(rows[t]), token_width, work.scores, token_width);
    for (int h = 0; h < shape.heads; ++h) {
      softmax(work.scores + h * token_width, length, shape.scale);
    }
    small_product(shape.heads, length, work.latent_width, {work.scores, token_width, 1},
                  cache.latents(rows[t]), work.latent_width,
                  work.latent + first_head * work.latent_width, work.latent_width);
  }
  absorb_values(shape, cache, num_tokens, kv_b, work, out);
}

#define WEFT_INSTANTIATE(Act)                                                                      \
  template void LatentCache::store<Act>(int, int, const Act*, const Act*);                         \
  template void mla_decode<Act>(Context&, const AttentionShape&, const LatentCache&, int,          \
                                const std::int32_t*, const std::int32_t*, const Act*, const Real*, \
                                Act*);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer::kernels

#include "trainer/kernels/mla_decode.h"

#include <algorithm>

#include "trainer/kernels/vector_math.h"

namespace weft::trainer::kernels {

namespace {

Real dot(const Real* a, const Real* b, int n) {
  Real sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void add_scaled(const Real* x, Real factor, int n, Real* y) {
#pragma omp simd
  for (int i = 0; i < n; ++i) y[i] += x[i] * factor;
}

void softmax(Real* row, int n, Real scale) {
  const Real largest = *std::max_element(row, row + n);
  Real sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int j = 0; j < n; ++j) {
    row[j] = vector_exp((row[j] - largest) * scale);
    sum += row[j];
  }
  const Real inverse = Real(1) / sum;
#pragma omp simd
  for (int j = 0; j < n; ++j) row[j] *= inverse;
}

}  // namespace

void mla_decode_token(Context& context, const AttentionShape& shape, const LatentCache& cache,
                      int row, int position, const Real* q, const Real* kv_b, Real* out) {
  const int length = position + 1, width = cache.lora + cache.rope;
  Real* query = context.scratch(0, static_cast<std::size_t>(width)).data();
  Real* scores = context.scratch(1, static_cast<std::size_t>(length)).data();
  Real* latent = context.scratch(2, static_cast<std::size_t>(cache.lora)).data();
  const Real* tokens = cache.at(row, 0);
  for (int h = 0; h < shape.heads; ++h) {
    const Real* up = kv_b + static_cast<std::ptrdiff_t>(h) * (shape.nope + shape.value) * cache.lora;
    std::fill_n(query, cache.lora, Real(0));
    for (int d = 0; d < shape.nope; ++d) add_scaled(up + d * cache.lora, q[d], cache.lora, query);
    std::copy_n(q + shape.nope, shape.rope, query + cache.lora);
    for (int j = 0; j < length; ++j) {
      scores[j] = dot(query, tokens + static_cast<std::ptrdiff_t>(j) * width, width);
    }
    softmax(scores, length, shape.scale);
    std::fill_n(latent, cache.lora, Real(0));
    for (int j = 0; j < length; ++j) {
      add_scaled(tokens + static_cast<std::ptrdiff_t>(j) * width, scores[j], cache.lora, latent);
    }
    up += static_cast<std::ptrdiff_t>(shape.nope) * cache.lora;
    for (int d = 0; d < shape.value; ++d) out[d] = dot(up + d * cache.lora, latent, cache.lora);
    q += shape.nope + shape.rope;
    out += shape.value;
  }
}

}  // namespace weft::trainer::kernels

#include <algorithm>
#include <type_traits>

#include "trainer/kernels/attention.h"
#include "trainer/kernels/small_product.h"

namespace weft::trainer::kernels {

namespace {

constexpr int kRowBlock = 4;

/// One head of one sequence, copied into rows padded to whole vectors.
struct Head {
  int length, width;   // tokens; tokens padded
  int dim, dim_width;  // query-key elements; padded
  int value, value_width;
  Real* keys;           // [length, dim_width]; backward only
  Real* keys_across;    // [dim, width]
  Real* values;         // [length, value_width]
  Real* values_across;  // [value, width]; backward only
};

Head make_head(Context& context, const AttentionShape& shape, int length, bool backward) {
  Head head{};
  head.length = length;
  head.width = padded(length);
  head.dim = shape.nope + shape.rope;
  head.dim_width = padded(head.dim);
  head.value = shape.value;
  head.value_width = padded(shape.value);
  const auto n = static_cast<std::size_t>(length), w = static_cast<std::size_t>(head.width);
  head.keys_across = context.scratch(0, w * head.dim).data();
  head.values = context.scratch(1, n * head.value_width).data();
  if (backward) {
    head.keys = context.scratch(2, n * head.dim_width).data();
    head.values_across = context.scratch(3, w * head.value).data();
  }
  return head;
}

/// kv, k_rope: at the sequence's first token; kv at this head.
void load_head(const AttentionShape& shape, const Real* kv, std::ptrdiff_t ld_kv,
               const Real* k_rope, std::ptrdiff_t ld_k_rope, Head& head) {
  for (int d = 0; d < head.dim; ++d) {
    std::fill(head.keys_across + d * head.width + head.length,
              head.keys_across + (d + 1) * head.width, Real(0));
  }
  for (int j = 0; j < head.length; ++j, kv += ld_kv, k_rope += ld_k_rope) {
    for (int d = 0; d < shape.nope; ++d) head.keys_across[d * head.width + j] = kv[d];
    for (int d = 0; d < shape.rope; ++d) {
      head.keys_across[(shape.nope + d) * head.width + j] = k_rope[d];
    }
    Real* values = head.values + static_cast<std::ptrdiff_t>(j) * head.value_width;
    std::copy_n(kv + shape.nope, shape.value, values);
    std::fill(values + shape.value, values + head.value_width, Real(0));
    if (head.keys == nullptr) continue;
    Real* keys = head.keys + static_cast<std::ptrdiff_t>(j) * head.dim_width;
    std::copy_n(kv, shape.nope, keys);
    std::copy_n(k_rope, shape.rope, keys + shape.nope);
    std::fill(keys + head.dim, keys + head.dim_width, Real(0));
    for (int d = 0; d < shape.value; ++d) {
      head.values_across[d * head.width + j] = kv[shape.nope + d];
    }
  }
  if (head.keys == nullptr) return;
  for (int d = 0; d < head.value; ++d) {
    std::fill(head.values_across + d * head.width + head.length,
              head.values_across + (d + 1) * head.width, Real(0));
  }
}

/// Softmax of scale * row over its first `seen` elements; zeros up to `width`. Runs over whole
/// vectors: a tail of single elements would cost more than the rest.
void softmax_row(Real* row, int seen, int width, Real scale) {
  Real largest = row[0];
#pragma omp simd reduction(max : largest)
  for (int j = 0; j < width; ++j) {
    const Real x = j < seen ? row[j] : row[0];
    largest = x > largest ? x : largest;
  }
  Real sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int j = 0; j < width; ++j) {
    const Real e = vector_exp((row[j] - largest) * scale);
    row[j] = j < seen ? e : Real(0);
    sum += row[j];
  }
  const Real inverse = Real(1) / sum;
#pragma omp simd
  for (int j = 0; j < width; ++j) row[j] *= inverse;
}

/// Probabilities of `rows` tokens from `first` on, into rows of `p` head.width apart.
void probabilities(const Head& head, const Real* q, std::ptrdiff_t ldq, int first, int rows,
                   Real scale, Real* p) {
  const int seen = std::min(padded(first + rows), head.width);
  small_product(rows, head.dim, seen, {q + first * ldq, ldq, 1}, head.keys_across, head.width, p,
                head.width);
  for (int r = 0; r < rows; ++r) {
    softmax_row(p + static_cast<std::ptrdiff_t>(r) * head.width, first + r + 1, seen, scale);
  }
}

void forward_head(Context& context, const Head& head, const Real* q, std::ptrdiff_t ldq, Real scale,
                  Real* out, std::ptrdiff_t ld_out) {
  Real* p = context.scratch(4, static_cast<std::size_t>(kRowBlock) * head.width).data();
  Real* sums = context.scratch(5, static_cast<std::size_t>(kRowBlock) * head.value_width).data();
  for (int first = 0; first < head.length; first += kRowBlock) {
    const int rows = std::min(kRowBlock, head.length - first);
    probabilities(head, q, ldq, first, rows, scale, p);
    small_product(rows, first + rows, head.value_width, {p, head.width, 1}, head.values,
                  head.value_width, sums, head.value_width);
    for (int r = 0; r < rows; ++r) {
      std::copy_n(sums + r * head.value_width, head.value, out + (first + r) * ld_out);
    }
  }
}

/// dp becomes the gradient of the unscaled scores: scale * p * (dp - sum(p dp)); p is zero beyond
/// what a token sees.
void softmax_backward_row(const Real* p, Real* dp, int width, Real scale) {
  Real dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int j = 0; j < width; ++j) dot += p[j] * dp[j];
#pragma omp simd
  for (int j = 0; j < width; ++j) dp[j] = scale * p[j] * (dp[j] - dot);
}

/// Copies rows of a strided matrix into rows padded with zeros.
void pad_rows(const Real* from, std::ptrdiff_t ld, int rows, int dim, int width, Real* to) {
  for (int r = 0; r < rows; ++r, from += ld, to += width) {
    std::copy_n(from, dim, to);
    std::fill(to + dim, to + width, Real(0));
  }
}

struct HeadGradients {
  const Real* d_out;  // rows ld_out apart
  Real* dq;           // rows ldq apart
  Real* d_kv;         // rows ld_kv apart
  Real* d_k_rope;     // rows shape.rope apart, added to
};

void backward_head(Context& context, const AttentionShape& shape, const Head& head, const Real* q,
                   std::ptrdiff_t ldq, std::ptrdiff_t ld_kv, std::ptrdiff_t ld_out,
                   const HeadGradients& gradients) {
  const int n = head.length, width = head.width;
  const auto square = static_cast<std::size_t>(padded(n)) * width;
  Real* p = context.scratch(4, 2 * square).data();
  Real* ds = p + square;
  const auto rows_room = static_cast<std::size_t>(n) * std::max(head.dim_width, head.value_width);
  Real* right = context.scratch(5, rows_room).data();  // d_out, then q, padded
  Real* result = context.scratch(6, rows_room).data();
  for (int first = 0; first < n; first += kRowBlock) {
    const int rows = std::min(kRowBlock, n - first);
    Real* p_rows = p + static_cast<std::ptrdiff_t>(first) * width;
    Real* ds_rows = ds + static_cast<std::ptrdiff_t>(first) * width;
    probabilities(head, q, ldq, first, rows, shape.scale, p_rows);
    const int seen = std::min(padded(first + rows), width);
    small_product(rows, head.value, seen, {gradients.d_out + first * ld_out, ld_out, 1},
                  head.values_across, width, ds_rows, width);
    for (int r = 0; r < rows; ++r) {
      softmax_backward_row(p_rows + r * width, ds_rows + r * width, seen, shape.scale);
    }
    small_product(rows, first + rows, head.dim_width, {ds_rows, width, 1}, head.keys,
                  head.dim_width, result, head.dim_width);
    for (int r = 0; r < rows; ++r) {
      std::copy_n(result + r * head.dim_width, head.dim, gradients.dq + (first + r) * ldq);
    }
  }
  // Values and keys: sums over the queries that saw them, in ascending order.
  pad_rows(gradients.d_out, ld_out, n, head.value, head.value_width, right);
  for (int j = 0; j < n; j += kRowBlock) {
    const int rows = std::min(kRowBlock, n - j);
    small_product(rows, n - j, head.value_width, {p + j * width + j, 1, width},
                  right + j * head.value_width, head.value_width, result, head.value_width);
    for (int r = 0; r < rows; ++r) {
      std::copy_n(result + r * head.value_width, head.value,
                  gradients.d_kv + (j + r) * ld_kv + shape.nope);
    }
  }
  pad_rows(q, ldq, n, head.dim, head.dim_width, right);
  for (int j = 0; j < n; j += kRowBlock) {
    const int rows = std::min(kRowBlock, n - j);
    small_product(rows, n - j, head.dim_width, {ds + j * width + j, 1, width},
                  right + j * head.dim_width, head.dim_width, result, head.dim_width);
    for (int r = 0; r < rows; ++r) {
      const Real* key = result + r * head.dim_width;
      std::copy_n(key, shape.nope, gradients.d_kv + (j + r) * ld_kv);
      Real* rotated = gradients.d_k_rope + static_cast<std::ptrdiff_t>(j + r) * shape.rope;
      for (int d = 0; d < shape.rope; ++d) rotated[d] += key[shape.nope + d];
    }
  }
}

void forward_in_real(Context& context, const AttentionShape& shape,
                     std::span<const std::int32_t> sequence_begin, const Real* q, const Real* kv,
                     const Real* k_rope, int ld_k_rope, Real* out) {
  const std::ptrdiff_t ldq = static_cast<std::ptrdiff_t>(shape.heads) * (shape.nope + shape.rope);
  const std::ptrdiff_t ld_kv =
      static_cast<std::ptrdiff_t>(shape.heads) * (shape.nope + shape.value);
  const std::ptrdiff_t ld_out = static_cast<std::ptrdiff_t>(shape.heads) * shape.value;
  for (std::size_t s = 0; s + 1 < sequence_begin.size(); ++s) {
    const std::ptrdiff_t begin = sequence_begin[s];
    Head head = make_head(context, shape, sequence_begin[s + 1] - sequence_begin[s], false);
    for (int h = 0; h < shape.heads; ++h) {
      load_head(shape, kv + begin * ld_kv + h * (shape.nope + shape.value), ld_kv,
                k_rope + begin * ld_k_rope, ld_k_rope, head);
      forward_head(context, head, q + begin * ldq + h * (shape.nope + shape.rope), ldq, shape.scale,
                   out + begin * ld_out + h * shape.value, ld_out);
    }
  }
}

void backward_in_real(Context& context, const AttentionShape& shape,
                      std::span<const std::int32_t> sequence_begin, const Real* q, const Real* kv,
                      const Real* k_rope, int ld_k_rope, const Real* d_out, Real* dq, Real* d_kv,
                      Real* d_k_rope) {
  const std::ptrdiff_t ldq = static_cast<std::ptrdiff_t>(shape.heads) * (shape.nope + shape.rope);
  const std::ptrdiff_t ld_kv =
      static_cast<std::ptrdiff_t>(shape.heads) * (shape.nope + shape.value);
  const std::ptrdiff_t ld_out = static_cast<std::ptrdiff_t>(shape.heads) * shape.value;
  for (std::size_t s = 0; s + 1 < sequence_begin.size(); ++s) {
    const std::ptrdiff_t begin = sequence_begin[s];
    const int length = sequence_begin[s + 1] - sequence_begin[s];
    Head head = make_head(context, shape, length, true);
    std::fill_n(d_k_rope + begin * shape.rope, static_cast<std::ptrdiff_t>(length) * shape.rope,
                Real(0));
    for (int h = 0; h < shape.heads; ++h) {
      const std::ptrdiff_t at_q = begin * ldq + h * (shape.nope + shape.rope);
      const std::ptrdiff_t at_kv = begin * ld_kv + h * (shape.nope + shape.value);
      load_head(shape, kv + at_kv, ld_kv, k_rope + begin * ld_k_rope, ld_k_rope, head);
      backward_head(context, shape, head, q + at_q, ldq, ld_kv, ld_out,
                    {d_out + begin * ld_out + h * shape.value, dq + at_q, d_kv + at_kv,
                     d_k_rope + begin * shape.rope});
    }
  }
}

template <class From, class To>
To* convert(const From* from, std::size_t n, To* to) {
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) to[i] = To(from[i]);
  return to;
}

}  // namespace

template <class Act>
void causal_attention_forward(Context& context, const AttentionShape& shape,
                              std::span<const std::int32_t> sequence_begin, const Act* q,
                              const Act* kv, const Act* k_rope, int ld_k_rope, Act* out) {
  if constexpr (std::is_same_v<Act, Real>) {
    forward_in_real(context, shape, sequence_begin, q, kv, k_rope, ld_k_rope, out);
  } else {
    const auto n = static_cast<std::size_t>(sequence_begin.back());
    const std::size_t nq = n * static_cast<std::size_t>(shape.heads * (shape.nope + shape.rope));
    const std::size_t nkv = n * static_cast<std::size_t>(shape.heads * (shape.nope + shape.value));
    const std::size_t nk = n * static_cast<std::size_t>(ld_k_rope);
    const std::size_t nout = n * static_cast<std::size_t>(shape.heads * shape.value);
    Real* room = context.scratch(7, nq + nkv + nk + nout).data();
    Real* result = room + nq + nkv + nk;
    forward_in_real(context, shape, sequence_begin, convert(q, nq, room),
                    convert(kv, nkv, room + nq), convert(k_rope, nk, room + nq + nkv), ld_k_rope,
                    result);
    convert(result, nout, out);
  }
}

template <class Act>
void causal_attention_backward(Context& context, const AttentionShape& shape,
                               std::span<const std::int32_t> sequence_begin, const Act* q,
                               const Act* kv, const Act* k_rope, int ld_k_rope, const Act* d_out,
                               Act* dq, Act* d_kv, Real* d_k_rope) {
  if constexpr (std::is_same_v<Act, Real>) {
    backward_in_real(context, shape, sequence_begin, q, kv, k_rope, ld_k_rope, d_out, dq, d_kv,
                     d_k_rope);
  } else {
    const auto n = static_cast<std::size_t>(sequence_begin.back());
    const std::size_t nq = n * static_cast<std::size_t>(shape.heads * (shape.nope + shape.rope));
    const std::size_t nkv = n * static_cast<std::size_t>(shape.heads * (shape.nope + shape.value));
    const std::size_t nk = n * static_cast<std::size_t>(ld_k_rope);
    const std::size_t nout = n * static_cast<std::size_t>(shape.heads * shape.value);
    Real* room = context.scratch(7, 2 * nq + 2 * nkv + nk + nout).data();
    Real* real_out = room + nq + nkv + nk;
    Real* real_dq = real_out + nout;
    Real* real_d_kv = real_dq + nq;
    backward_in_real(context, shape, sequence_begin, convert(q, nq, room),
                     convert(kv, nkv, room + nq), convert(k_rope, nk, room + nq + nkv), ld_k_rope,
                     convert(d_out, nout, real_out), real_dq, real_d_kv, d_k_rope);
    convert(real_dq, nq, dq);
    convert(real_d_kv, nkv, d_kv);
  }
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

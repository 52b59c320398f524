#include "base/small_floats.h"
#include "kernels_fixture.h"
#include "trainer/kernels/attention.h"
#include "trainer/kernels/mla_decode.h"

namespace weft::trainer::kernels {
namespace {

/// The textbook: every probability, every derivative, in double.
struct Textbook {
  AttentionShape s;
  std::vector<std::int32_t> begin;
  std::vector<Real> q, kv, k_rope, d_out;
  std::vector<double> out, dq, d_kv, d_k_rope;

  Textbook(const AttentionShape& shape, std::vector<std::int32_t> begin_in)
      : s(shape), begin(std::move(begin_in)) {
    const int n = begin.back();
    q = random_values(static_cast<std::size_t>(n * s.heads * (s.nope + s.rope)), 1);
    kv = random_values(static_cast<std::size_t>(n * s.heads * (s.nope + s.value)), 2);
    k_rope = random_values(static_cast<std::size_t>(n * s.rope), 3);
    d_out = random_values(static_cast<std::size_t>(n * s.heads * s.value), 4);
    out.resize(d_out.size());
    dq.resize(q.size());
    d_kv.resize(kv.size());
    d_k_rope.resize(k_rope.size());
    for (std::size_t i = 0; i + 1 < begin.size(); ++i) {
      for (int h = 0; h < s.heads; ++h) {
        for (int t = begin[i]; t < begin[i + 1]; ++t) token(h, begin[i], t);
      }
    }
  }

  std::size_t q_at(int t, int h, int d) const {
    return static_cast<std::size_t>((t * s.heads + h) * (s.nope + s.rope) + d);
  }
  std::size_t kv_at(int t, int h, int d) const {
    return static_cast<std::size_t>((t * s.heads + h) * (s.nope + s.value) + d);
  }
  std::size_t rope_at(int t, int d) const { return static_cast<std::size_t>(t * s.rope + d); }
  std::size_t out_at(int t, int h, int d) const {
    return static_cast<std::size_t>((t * s.heads + h) * s.value + d);
  }
  double key(int t, int h, int d) const {
    return d < s.nope ? kv[kv_at(t, h, d)] : k_rope[rope_at(t, d - s.nope)];
  }

  void token(int h, int first, int t) {
    std::vector<double> p;
    double sum = 0;
    for (int j = first; j <= t; ++j) {
      double score = 0;
      for (int d = 0; d < s.nope + s.rope; ++d) score += q[q_at(t, h, d)] * key(j, h, d);
      p.push_back(std::exp(score * s.scale));
      sum += p.back();
    }
    double mean = 0;
    std::vector<double> dp;
    for (int j = first; j <= t; ++j) {
      double& pj = p[static_cast<std::size_t>(j - first)];
      pj /= sum;
      double dot = 0;
      for (int d = 0; d < s.value; ++d) {
        const double v = kv[kv_at(j, h, s.nope + d)];
        out[out_at(t, h, d)] += pj * v;
        dot += v * d_out[out_at(t, h, d)];
        d_kv[kv_at(j, h, s.nope + d)] += pj * d_out[out_at(t, h, d)];
      }
      dp.push_back(dot);
      mean += pj * dot;
    }
    for (int j = first; j <= t; ++j) {
      const auto k = static_cast<std::size_t>(j - first);
      const double ds = s.scale * p[k] * (dp[k] - mean);
      for (int d = 0; d < s.nope + s.rope; ++d) {
        dq[q_at(t, h, d)] += ds * key(j, h, d);
        const double back = ds * q[q_at(t, h, d)];
        if (d < s.nope) {
          d_kv[kv_at(j, h, d)] += back;
        } else {
          d_k_rope[rope_at(j, d - s.nope)] += back;
        }
      }
    }
  }
};

void expect_textbook(const AttentionShape& shape, const std::vector<std::int32_t>& begin) {
  Context context;
  const Textbook t(shape, begin);
  std::vector<Real> out(t.out.size()), dq(t.dq.size()), d_kv(t.d_kv.size()),
      d_k_rope(t.d_k_rope.size());
  causal_attention_forward(context, shape, begin, t.q.data(), t.kv.data(), t.k_rope.data(),
                           shape.rope, out.data());
  expect_close(out, t.out, 1e-5, "out");
  causal_attention_backward(context, shape, begin, t.q.data(), t.kv.data(), t.k_rope.data(),
                            shape.rope, t.d_out.data(), dq.data(), d_kv.data(), d_k_rope.data());
  expect_close(dq, t.dq, 5e-5, "dq");
  expect_close(d_kv, t.d_kv, 5e-5, "d_kv");
  expect_close(d_k_rope, t.d_k_rope, 5e-5, "d_k_rope");
}

TEST(Attention, EqualsTheTextbookAtEverySizeAroundATile) {
  for (const int length : {1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 47, 65}) {
    expect_textbook({2, 16, 8, 16, Real(0.2)}, {0, length});
  }
}

TEST(Attention, EqualsTheTextbookForOddHeadsAndPackedSequences) {
  expect_textbook({3, 5, 2, 7, Real(0.4)}, {0, 3, 4, 21, 21, 40});
  expect_textbook({1, 17, 4, 33, Real(0.2)}, {0, 19, 37});
  expect_textbook({1, 1, 2, 1, Real(1)}, {0, 1, 2});
}

TEST(Attention, ATokenDoesNotDependOnWhatComesAfterOrBeside) {
  Context context;
  const AttentionShape shape{2, 16, 8, 16, Real(0.2)};
  const Textbook all(shape, {0, 50});
  std::vector<Real> out(all.out.size()), part(all.out.size());
  const std::vector<std::int32_t> whole = {0, 50};
  causal_attention_forward(context, shape, whole, all.q.data(), all.kv.data(), all.k_rope.data(), 8,
                           out.data());
  for (int length = 1; length < 50; ++length) {
    const std::vector<std::int32_t> begin = {0, length};
    causal_attention_forward(context, shape, begin, all.q.data(), all.kv.data(), all.k_rope.data(),
                             8, part.data());
    ASSERT_TRUE(std::equal(part.begin(), part.begin() + length * 2 * 16, out.begin())) << length;
  }
}

std::vector<Bf16> rounded(const std::vector<Real>& values) {
  std::vector<Bf16> result(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) result[i] = Bf16(values[i]);
  return result;
}

TEST(Attention, InBf16EqualsTheTextbookUpToItsRounding) {
  for (const AttentionShape& shape :
       {AttentionShape{2, 16, 8, 16, Real(0.2)}, AttentionShape{3, 5, 2, 7, Real(0.4)},
        AttentionShape{1, 33, 16, 48, Real(0.1)}}) {
    Context context;
    const std::vector<std::int32_t> begin = {0, 3, 4, 37, 37, 70};
    const Textbook t(shape, begin);
    const auto q = rounded(t.q), kv = rounded(t.kv), k_rope = rounded(t.k_rope);
    const auto d_out = rounded(t.d_out);
    std::vector<Bf16> out(t.out.size()), dq(t.dq.size()), d_kv(t.d_kv.size());
    std::vector<Real> d_k_rope(t.d_k_rope.size());
    causal_attention_forward(context, shape, begin, q.data(), kv.data(), k_rope.data(), shape.rope,
                             out.data());
    expect_close(out, t.out, 0.03, "out");
    causal_attention_backward(context, shape, begin, q.data(), kv.data(), k_rope.data(), shape.rope,
                              d_out.data(), dq.data(), d_kv.data(), d_k_rope.data());
    expect_close(dq, t.dq, 0.06, "dq");
    expect_close(d_kv, t.d_kv, 0.06, "d_kv");
    expect_close(d_k_rope, t.d_k_rope, 0.06, "d_k_rope");
  }
}

TEST(Attention, GivesTheSameBitsOnTwoThreads) {
  const AttentionShape shape{2, 16, 8, 16, Real(0.2)};
  const std::vector<std::int32_t> begin = {0, 30, 50};
  const Textbook t(shape, begin);
  std::vector<Real> out[2], dq[2], d_kv[2], d_k_rope[2];
  for (int threads : {1, 2}) {
    Context context(threads);
    const int i = threads - 1;
    out[i].resize(t.out.size()), dq[i].resize(t.dq.size());
    d_kv[i].resize(t.d_kv.size()), d_k_rope[i].resize(t.d_k_rope.size());
    causal_attention_forward(context, shape, begin, t.q.data(), t.kv.data(), t.k_rope.data(), 8,
                             out[i].data());
    causal_attention_backward(context, shape, begin, t.q.data(), t.kv.data(), t.k_rope.data(), 8,
                              t.d_out.data(), dq[i].data(), d_kv[i].data(), d_k_rope[i].data());
  }
  EXPECT_EQ(out[0], out[1]);
  EXPECT_EQ(dq[0], dq[1]);
  EXPECT_EQ(d_kv[0], d_kv[1]);
  EXPECT_EQ(d_k_rope[0], d_k_rope[1]);
}

void expect_decode_equals_attention(int lora) {
  Context context;
  const AttentionShape shape{3, 8, 4, 6, Real(0.3)};
  const int length = 21, wide = shape.heads * (shape.nope + shape.value);
  const auto kv_b = random_values(static_cast<std::size_t>(wide * lora), 1);
  const auto latents = random_values(static_cast<std::size_t>(length * lora), 2);
  const auto k_rope = random_values(static_cast<std::size_t>(length * shape.rope), 4);
  LatentCache cache;
  cache.open(2, 30, lora, shape.rope);
  std::vector<Real> kv(static_cast<std::size_t>(length * wide));
  for (int t = 0; t < length; ++t) {
    const Real* latent = latents.data() + t * lora;
    cache.store(1, t, latent, k_rope.data() + t * shape.rope);
    for (int o = 0; o < wide; ++o) {
      double sum = 0;
      for (int d = 0; d < lora; ++d)
        sum += kv_b[static_cast<std::size_t>(o * lora + d)] * latent[d];
      kv[static_cast<std::size_t>(t * wide + o)] = static_cast<Real>(sum);
    }
  }
  const int q_width = shape.heads * (shape.nope + shape.rope),
            out_width = shape.heads * shape.value;
  const auto q = random_values(static_cast<std::size_t>(length * q_width), 3);
  std::vector<Real> want(static_cast<std::size_t>(length * out_width)), got = want;
  const std::vector<std::int32_t> begin = {0, length};
  causal_attention_forward(context, shape, begin, q.data(), kv.data(), k_rope.data(), shape.rope,
                           want.data());
  std::vector<std::int32_t> rows(static_cast<std::size_t>(length), 1), positions;
  for (int t = 0; t < length; ++t) positions.push_back(t);
  mla_decode(context, shape, cache, length, rows.data(), positions.data(), q.data(), kv_b.data(),
             got.data());
  expect_close(got, want, 2e-5, "decoded");
}

TEST(MlaDecode, EqualsAttentionOverExpandedLatents) {
  for (const int lora : {1, 11, 16, 33, 64}) expect_decode_equals_attention(lora);
}

}  // namespace
}  // namespace weft::trainer::kernels

// Row-wise kernels against plain formulas in double.
#include "kernels_fixture.h"
#include "trainer/kernels/embedding.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/kernels/rope.h"
#include "trainer/kernels/softmax_head.h"
#include "trainer/kernels/swiglu.h"
#include "trainer/kernels/vector_math.h"

namespace weft::trainer::kernels {
namespace {

using Reference = std::vector<double>;

std::size_t elements(int a, int b) { return static_cast<std::size_t>(a * b); }

const int kSizes[] = {1, 3, 16, 17, 31, 64, 97, 130};

TEST(VectorExp, StaysWithinItsStatedError) {
  for (double x = -87; x <= 88; x += 0.00173) {
    const auto rounded = static_cast<float>(x);
    const double want = std::exp(static_cast<double>(rounded));
    ASSERT_NEAR(vector_exp(rounded) / want, 1.0, 3e-7) << x;
  }
  EXPECT_LT(vector_exp(-1000.0f), 2e-38f);
  EXPECT_EQ(vector_exp(0.0f), 1.0f);
}

TEST(RmsNorm, EqualsItsFormulaAndDerivative) {
  Context context;
  for (const int dim : kSizes) {
    const int rows = 3, ld = dim + 2;
    const auto x = random_values(elements(rows, ld), 1), w = random_values(elements(1, dim), 2);
    const auto dy = random_values(elements(rows, dim), 3);
    Reference y(elements(rows, dim)), dx(y.size()), dw(w.size());
    for (int r = 0; r < rows; ++r) {
      double squares = 0, pull = 0;
      const auto at = [&](int i) {
        return static_cast<double>(x[elements(r, ld) + static_cast<std::size_t>(i)]);
      };
      for (int i = 0; i < dim; ++i) squares += at(i) * at(i);
      const double s = 1 / std::sqrt(squares / dim + 1e-6);
      for (int i = 0; i < dim; ++i) {
        const auto k = elements(r, dim) + static_cast<std::size_t>(i);
        const double g = static_cast<double>(dy[k]) * w[static_cast<std::size_t>(i)];
        y[k] = at(i) * s * w[static_cast<std::size_t>(i)];
        pull += g * at(i);
        dw[static_cast<std::size_t>(i)] += static_cast<double>(dy[k]) * at(i) * s;
      }
      for (int i = 0; i < dim; ++i) {
        const auto k = elements(r, dim) + static_cast<std::size_t>(i);
        dx[k] = s * static_cast<double>(dy[k]) * w[static_cast<std::size_t>(i)] -
                at(i) * s * s * s * pull / dim;
      }
    }
    std::vector<Real> got(y.size()), rstd(static_cast<std::size_t>(rows)), got_dx(y.size()),
        got_dw(w.size());
    rmsnorm_forward(context, x.data(), ld, w.data(), rows, dim, Real(1e-6), got.data(),
                    rstd.data());
    expect_close(got, y, 1e-5, "y");
    rmsnorm_backward(context, dy.data(), x.data(), ld, w.data(), rstd.data(), rows, dim,
                     got_dx.data(), dim, false, got_dw.data());
    expect_close(got_dx, dx, 2e-5, "dx");
    expect_close(got_dw, dw, 2e-5, "dw");
    rmsnorm_backward(context, dy.data(), x.data(), ld, w.data(), rstd.data(), rows, dim,
                     got_dx.data(), dim, true, got_dw.data());
    for (double& v : dx) v *= 2;
    expect_close(got_dx, dx, 2e-5, "dx, accumulated");
  }
}

TEST(Rope, TurnsInterleavedPairsByPositionAndBack) {
  Context context;
  const int dim = 6, heads = 2, rows = 3, ld = 2 * 9;
  const RopeTable table(100.0, dim, 20);
  const std::vector<std::int32_t> positions = {0, 7, 19};
  const auto x = random_values(elements(rows, ld), 1);
  std::vector<Real> y = x;
  rope(context, table, positions.data(), rows, heads, y.data(), ld, 9);
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < ld; ++c) {
      const int inside = c % 9;
      const auto k = elements(r, ld) + static_cast<std::size_t>(c);
      if (inside >= dim) {
        EXPECT_EQ(y[k], x[k]);
        continue;
      }
      const int pair = inside / 2;
      const double angle =
          positions[static_cast<std::size_t>(r)] * std::pow(100.0, -2.0 * pair / dim);
      const double a = x[inside % 2 ? k - 1 : k], b = x[inside % 2 ? k : k + 1];
      const double want = inside % 2 ? b * std::cos(angle) + a * std::sin(angle)
                                     : a * std::cos(angle) - b * std::sin(angle);
      EXPECT_NEAR(y[k], want, 1e-6);
    }
  }
  rope(context, table, positions.data(), rows, heads, y.data(), ld, 9, true);
  expect_close(y, x, 1e-6, "rotated back");
}

TEST(SwiGlu, EqualsItsFormulaAndDerivative) {
  Context context;
  for (const int width : kSizes) {
    const int rows = 2;
    const auto in = random_values(elements(rows, 2 * width), 1, 3.0);
    const auto d = random_values(elements(rows, width), 2);
    Reference act(elements(rows, width)), d_in(in.size());
    for (int r = 0; r < rows; ++r) {
      for (int i = 0; i < width; ++i) {
        const auto g_at = elements(r, 2 * width) + static_cast<std::size_t>(i);
        const auto u_at = g_at + static_cast<std::size_t>(width);
        const auto k = elements(r, width) + static_cast<std::size_t>(i);
        const double g = in[g_at], u = in[u_at], s = 1 / (1 + std::exp(-g));
        act[k] = g * s * u;
        d_in[u_at] = static_cast<double>(d[k]) * g * s;
        d_in[g_at] = static_cast<double>(d[k]) * u * s * (1 + g * (1 - s));
      }
    }
    std::vector<Real> got(act.size()), got_d(in.size());
    swiglu_forward(context, in.data(), rows, width, got.data());
    swiglu_backward(context, d.data(), in.data(), rows, width, got_d.data());
    expect_close(got, act, 1e-6, "act");
    expect_close(got_d, d_in, 1e-6, "d_gate_up");
  }
}

TEST(SoftmaxHead, EqualsItsFormulaAndDerivative) {
  Context context;
  for (const int vocab : kSizes) {
    const int rows = 2;
    const auto logits = random_values(elements(rows, vocab), 1, 4.0);
    const std::vector<std::int32_t> targets = {0, vocab - 1};
    const std::vector<Real> d = {Real(-0.7), Real(1.3)};
    std::vector<Real> logprob(2), entropy(2), log_sum(2), grad = logits;
    log_softmax_forward(context, logits.data(), targets.data(), rows, vocab, logprob.data(),
                        entropy.data(), log_sum.data());
    log_softmax_backward(context, grad.data(), targets.data(), rows, vocab, log_sum.data(),
                         d.data(), grad.data());
    for (int r = 0; r < rows; ++r) {
      double sum = 0, entropy_want = 0;
      const auto at = [&](int v) {
        return static_cast<double>(logits[elements(r, vocab) + static_cast<std::size_t>(v)]);
      };
      for (int v = 0; v < vocab; ++v) sum += std::exp(at(v));
      const auto row = static_cast<std::size_t>(r);
      for (int v = 0; v < vocab; ++v) {
        const double p = std::exp(at(v)) / sum;
        entropy_want -= p * std::log(p);
        const double want = d[row] * ((v == targets[row]) - p);
        EXPECT_NEAR(grad[elements(r, vocab) + static_cast<std::size_t>(v)], want, 2e-6);
      }
      EXPECT_NEAR(logprob[row], at(targets[row]) - std::log(sum), 5e-6);
      EXPECT_NEAR(entropy[row], entropy_want, 1e-5);
      EXPECT_NEAR(log_sum[row], std::log(sum), 5e-6);
    }
  }
}

TEST(SoftmaxHead, SurvivesLogitsOfAnySize) {
  Context context;
  const std::vector<Real> logits = {Real(1e5), Real(-1e5), Real(99990)};
  const std::vector<std::int32_t> target = {1};
  Real logprob, entropy, log_sum;
  log_softmax_forward(context, logits.data(), target.data(), 1, 3, &logprob, &entropy, &log_sum);
  EXPECT_NEAR(logprob, -2e5, 1);
  EXPECT_TRUE(std::isfinite(entropy));
}

TEST(Embedding, GathersRowsAndAddsTheirGradients) {
  Context context;
  const auto table = random_values(5 * 7, 1), dy = random_values(4 * 7, 2);
  const std::vector<std::int32_t> tokens = {3, 0, 3, 4};
  std::vector<Real> y(4 * 7), d(5 * 7);
  embedding_forward(context, table.data(), tokens.data(), 4, 7, y.data());
  embedding_backward(context, dy.data(), tokens.data(), 4, 7, d.data());
  for (std::size_t i = 0; i < 7; ++i) {
    EXPECT_EQ(y[i], table[21 + i]);
    EXPECT_EQ(y[21 + i], table[28 + i]);
    EXPECT_EQ(d[21 + i], dy[i] + dy[14 + i]);
    EXPECT_EQ(d[i], dy[7 + i]);
    EXPECT_EQ(d[7 + i], Real(0));
  }
}

}  // namespace
}  // namespace weft::trainer::kernels

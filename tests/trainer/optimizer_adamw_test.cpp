#include "kernels_fixture.h"
#include "trainer/optimizer/adamw.h"

namespace weft::trainer::optimizer {
namespace {

using kernels::random_values;

TEST(AdamW, EqualsThePaperStepByStep) {
  for (const std::size_t n : {1u, 5u, 16u, 37u}) {
    std::vector<Real> x = random_values(n, 1), m(n), v(n);
    std::vector<double> want(x.begin(), x.end()), m_want(n), v_want(n);
    AdamWOptions options{0.01, 0.9, 0.95, 1e-8, 0.1, 0};
    for (int step = 1; step <= 10; ++step) {
      options.step = step;
      const auto g = random_values(n, 100 + static_cast<std::uint64_t>(step));
      adamw(x, g, m, v, options, 0.5);
      for (std::size_t i = 0; i < n; ++i) {
        const double d = 0.5 * static_cast<double>(g[i]);
        m_want[i] = 0.9 * m_want[i] + 0.1 * d;
        v_want[i] = 0.95 * v_want[i] + 0.05 * d * d;
        const double m_hat = m_want[i] / (1 - std::pow(0.9, step));
        const double v_hat = v_want[i] / (1 - std::pow(0.95, step));
        want[i] -= 0.01 * 0.1 * want[i] + 0.01 * m_hat / (std::sqrt(v_hat) + 1e-8);
      }
      kernels::expect_close(x, want, 1e-5, "value");
    }
  }
}

TEST(AdamW, AnElementDoesNotDependOnItsNeighbours) {
  const std::size_t n = 67;
  const auto g = random_values(n, 2);
  std::vector<Real> whole = random_values(n, 1), m(n), v(n);
  std::vector<Real> parts = whole, m_parts(n), v_parts(n);
  const AdamWOptions options{0.01, 0.9, 0.95, 1e-8, 0.1, 3};
  adamw(whole, g, m, v, options);
  for (std::size_t begin = 0; begin < n; begin += 9) {
    const std::size_t size = std::min<std::size_t>(9, n - begin);
    adamw(std::span(parts).subspan(begin, size), std::span(g).subspan(begin, size),
          std::span(m_parts).subspan(begin, size), std::span(v_parts).subspan(begin, size),
          options);
  }
  EXPECT_EQ(whole, parts);
  EXPECT_EQ(v, v_parts);
}

// Moments in BF16 are those of the paper, rounded to nearest even after every step; the value sees
// them before they are rounded.
TEST(AdamW, MomentsInBf16AreRoundedOnceAStep) {
  const std::size_t n = 37;
  std::vector<Real> x = random_values(n, 1), want = x, m_f32(n), v_f32(n);
  std::vector<Bf16> m(n), v(n);
  AdamWOptions options{0.01, 0.9, 0.95, 1e-8, 0.1, 0};
  for (int step = 1; step <= 20; ++step) {
    options.step = step;
    const auto g = random_values(n, 100 + static_cast<std::uint64_t>(step));
    adamw<Bf16>(x, g, m, v, options);
    adamw(want, g, m_f32, v_f32, options);
    for (std::size_t i = 0; i < n; ++i) {
      m_f32[i] = Bf16(m_f32[i]);
      v_f32[i] = Bf16(v_f32[i]);
      ASSERT_EQ(static_cast<float>(m[i]), m_f32[i]) << step;
      ASSERT_EQ(static_cast<float>(v[i]), v_f32[i]) << step;
    }
    ASSERT_EQ(x, want) << step;
  }
}

TEST(SquaredNorm, IsTheSumOfSquares) {
  const std::vector<Real> x = {3, 4, 12};
  EXPECT_EQ(squared_norm(x), 169.0);
  EXPECT_EQ(squared_norm({}), 0.0);
}

}  // namespace
}  // namespace weft::trainer::optimizer

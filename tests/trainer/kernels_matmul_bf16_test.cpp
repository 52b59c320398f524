// Products in BF16 against triple loops over the same rounded operands.
#include "kernels_fixture.h"
#include "trainer/kernels/convert.h"
#include "trainer/kernels/matmul.h"

namespace weft::trainer::kernels {
namespace {

struct Shape {
  int m, out, in;
};
const Shape kShapes[] = {{1, 1, 1},     {1, 7, 3},     {15, 13, 17},  {16, 64, 64},   {17, 65, 63},
                         {33, 72, 128}, {127, 31, 97}, {256, 16, 24}, {259, 130, 70}, {600, 5, 9}};

std::vector<Bf16> rounded(const std::vector<Real>& x) {
  std::vector<Bf16> y(x.size());
  convert(x.data(), x.size(), y.data());
  return y;
}

struct Case {
  Shape s;
  std::vector<Bf16> x, dy;
  std::vector<Real> w;
  std::vector<Bf16> w_rounded;
  PackedCopy packed;
  Weight weight;

  explicit Case(const Shape& shape)
      : s(shape),
        x(rounded(random_values(size(s.m, s.in), 1))),
        dy(rounded(random_values(size(s.m, s.out), 3))),
        w(random_values(size(s.out, s.in), 2)),
        w_rounded(rounded(w)),
        weight{w.data(), s.out, s.in, 1, &packed} {}
  static std::size_t size(int a, int b) { return static_cast<std::size_t>(a * b); }

  std::vector<double> y() const {
    std::vector<double> sum(size(s.m, s.out));
    for (int i = 0; i < s.m; ++i)
      for (int o = 0; o < s.out; ++o)
        for (int k = 0; k < s.in; ++k)
          sum[size(i, s.out) + size(o, 1)] +=
              double{x[size(i, s.in) + size(k, 1)]} * double{w_rounded[size(o, s.in) + size(k, 1)]};
    return sum;
  }
  std::vector<double> dx() const {
    std::vector<double> sum(size(s.m, s.in));
    for (int i = 0; i < s.m; ++i)
      for (int o = 0; o < s.out; ++o)
        for (int k = 0; k < s.in; ++k)
          sum[size(i, s.in) + size(k, 1)] += double{dy[size(i, s.out) + size(o, 1)]} *
                                             double{w_rounded[size(o, s.in) + size(k, 1)]};
    return sum;
  }
  std::vector<double> dw() const {
    std::vector<double> sum(size(s.out, s.in));
    for (int i = 0; i < s.m; ++i)
      for (int o = 0; o < s.out; ++o)
        for (int k = 0; k < s.in; ++k)
          sum[size(o, s.in) + size(k, 1)] +=
              double{dy[size(i, s.out) + size(o, 1)]} * double{x[size(i, s.in) + size(k, 1)]};
    return sum;
  }
};

constexpr double kSum = 2e-5;         // of an F32 sum
constexpr double kRounding = 0x1p-8;  // of one rounding to BF16 on top

TEST(MatmulBf16, SumsInF32OverRoundedOperands) {
  Context context;
  for (const Shape& s : kShapes) {
    Case c(s);
    std::vector<double> y = c.y(), dx = c.dx();
    std::vector<Real> got_y(y.size()), got_dx(dx.size());
    linear_forward(context, c.x.data(), s.m, c.weight, got_y.data());
    linear_backward_input(context, c.dy.data(), s.m, c.weight, got_dx.data());
    expect_close(got_y, y, kSum, "forward");
    expect_close(got_dx, dx, kSum, "backward for input");
    linear_forward(context, c.x.data(), s.m, c.weight, got_y.data(), true);
    linear_backward_input(context, c.dy.data(), s.m, c.weight, got_dx.data(), true);
    for (double& v : y) v *= 2;
    for (double& v : dx) v *= 2;
    expect_close(got_y, y, kSum, "forward, accumulated");
    expect_close(got_dx, dx, kSum, "backward for input, accumulated");
  }
}

TEST(MatmulBf16, AResultInBf16IsRoundedOnce) {
  Context context;
  for (const Shape& s : kShapes) {
    Case c(s);
    const std::vector<double> y = c.y(), dx = c.dx();
    std::vector<Bf16> got_y(y.size()), got_dx(dx.size());
    linear_forward(context, c.x.data(), s.m, c.weight, got_y.data());
    linear_backward_input(context, c.dy.data(), s.m, c.weight, got_dx.data());
    expect_close(got_y, y, kSum + kRounding, "forward");
    expect_close(got_dx, dx, kSum + kRounding, "backward for input");
  }
}

TEST(MatmulBf16, WeightGradientsAreAddedInF32ToWhatIsThere) {
  Context context;
  for (const Shape& s : kShapes) {
    Case c(s);
    std::vector<double> want = c.dw();
    std::vector<Real> dw = c.w;
    for (std::size_t i = 0; i < want.size(); ++i) want[i] += static_cast<double>(c.w[i]);
    linear_backward_weight(context, c.dy.data(), c.x.data(), s.m, s.out, s.in, dw.data());
    expect_close(dw, want, 5e-5, "backward for weight");
  }
}

TEST(MatmulBf16, ARowDoesNotDependOnTheOtherRows) {
  for (const int threads : {1, 2}) {
    Context context(threads);
    for (const Shape& s : {Shape{300, 72, 128}, Shape{300, 128, 64}, Shape{300, 384, 128},
                           Shape{300, 33, 47}, Shape{300, 128, 1536}}) {
      Case c(s);
      std::vector<Real> y(Case::size(s.m, s.out)), y_part = y;
      std::vector<Bf16> dx(Case::size(s.m, s.in)), dx_part = dx;
      linear_forward(context, c.x.data(), s.m, c.weight, y.data());
      linear_backward_input(context, c.dy.data(), s.m, c.weight, dx.data());
      for (const int m : {1, 2, 5, 15, 16, 31, 32, 100, 256, 257}) {
        linear_forward(context, c.x.data(), m, c.weight, y_part.data());
        linear_backward_input(context, c.dy.data(), m, c.weight, dx_part.data());
        const auto n = static_cast<std::ptrdiff_t>(m);
        ASSERT_TRUE(std::equal(y.begin(), y.begin() + n * s.out, y_part.begin())) << m;
        ASSERT_TRUE(std::equal(dx.begin(), dx.begin() + n * s.in, dx_part.begin())) << m;
      }
    }
  }
}

TEST(MatmulBf16, AWeightMayBeReadInBothPrecisions) {
  Context context;
  Case c({20, 24, 40});
  std::vector<Real> x(c.x.begin(), c.x.end()), y_f32(480), y_bf16(480), again(480);
  linear_forward(context, c.x.data(), 20, c.weight, y_bf16.data());
  linear_forward(context, x.data(), 20, c.weight, y_f32.data());
  linear_forward(context, c.x.data(), 20, c.weight, again.data());
  EXPECT_EQ(again, y_bf16);
  EXPECT_NE(y_f32, y_bf16) << "the weight itself is not rounded";
}

}  // namespace
}  // namespace weft::trainer::kernels

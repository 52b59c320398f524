#include "kernels_fixture.h"
#include "trainer/kernels/matmul.h"

namespace weft::trainer::kernels {
namespace {

struct Shape {
  int m, out, in;
};

// Sizes 1, odd, prime, at and above a tile; rows below, at, between and above the row units.
const Shape kShapes[] = {{1, 1, 1},     {1, 7, 3},      {15, 13, 17},  {16, 64, 64},
                         {17, 65, 63},  {40, 8, 128},   {33, 72, 128}, {127, 31, 97},
                         {256, 16, 24}, {259, 130, 70}, {600, 5, 9}};

struct Operands {
  std::vector<Real> x, w, dy;
  PackedCopy packed;
  Weight weight;

  explicit Operands(const Shape& s)
      : x(random_values(static_cast<std::size_t>(s.m * s.in), 1)),
        w(random_values(static_cast<std::size_t>(s.out * s.in), 2)),
        dy(random_values(static_cast<std::size_t>(s.m * s.out), 3)),
        weight{w.data(), s.out, s.in, 1, &packed} {}
};

std::vector<double> forward_reference(const Shape& s, const Operands& o) {
  std::vector<double> y(static_cast<std::size_t>(s.m * s.out));
  for (int i = 0; i < s.m; ++i)
    for (int j = 0; j < s.out; ++j)
      for (int k = 0; k < s.in; ++k)
        y[static_cast<std::size_t>(i * s.out + j)] +=
            static_cast<double>(o.x[static_cast<std::size_t>(i * s.in + k)]) *
            static_cast<double>(o.w[static_cast<std::size_t>(j * s.in + k)]);
  return y;
}

TEST(Matmul, ForwardEqualsTheTripleLoop) {
  Context context;
  for (const Shape& s : kShapes) {
    Operands o(s);
    std::vector<double> want = forward_reference(s, o);
    std::vector<Real> y(want.size());
    linear_forward(context, o.x.data(), s.m, o.weight, y.data());
    expect_close(y, want, 2e-5, "forward");
    linear_forward(context, o.x.data(), s.m, o.weight, y.data(), true);
    for (double& v : want) v *= 2;
    expect_close(y, want, 2e-5, "forward, accumulated");
  }
}

TEST(Matmul, BackwardInputEqualsTheTripleLoop) {
  Context context;
  for (const Shape& s : kShapes) {
    Operands o(s);
    std::vector<double> want(static_cast<std::size_t>(s.m * s.in));
    for (int i = 0; i < s.m; ++i)
      for (int k = 0; k < s.in; ++k)
        for (int j = 0; j < s.out; ++j)
          want[static_cast<std::size_t>(i * s.in + k)] +=
              static_cast<double>(o.dy[static_cast<std::size_t>(i * s.out + j)]) *
              static_cast<double>(o.w[static_cast<std::size_t>(j * s.in + k)]);
    std::vector<Real> dx(want.size());
    linear_backward_input(context, o.dy.data(), s.m, o.weight, dx.data());
    expect_close(dx, want, 2e-5, "backward for input");
    linear_backward_input(context, o.dy.data(), s.m, o.weight, dx.data(), true);
    for (double& v : want) v *= 2;
    expect_close(dx, want, 2e-5, "backward for input, accumulated");
  }
}

TEST(Matmul, BackwardWeightAddsToWhatIsThere) {
  Context context;
  for (const Shape& s : kShapes) {
    Operands o(s);
    std::vector<double> want(o.w.begin(), o.w.end());
    for (int j = 0; j < s.out; ++j)
      for (int k = 0; k < s.in; ++k)
        for (int i = 0; i < s.m; ++i)
          want[static_cast<std::size_t>(j * s.in + k)] +=
              static_cast<double>(o.dy[static_cast<std::size_t>(i * s.out + j)]) *
              static_cast<double>(o.x[static_cast<std::size_t>(i * s.in + k)]);
    std::vector<Real> dw = o.w;
    linear_backward_weight(context, o.dy.data(), o.x.data(), s.m, s.out, s.in, dw.data());
    expect_close(dw, want, 5e-5, "backward for weight");
  }
}

TEST(Matmul, ARowDoesNotDependOnTheOtherRows) {
  Context context;
  for (const Shape& s : {Shape{300, 72, 128}, Shape{300, 128, 64}, Shape{300, 8, 128},
                         Shape{300, 384, 128}, Shape{300, 33, 47}, Shape{300, 128, 1536}}) {
    Operands o(s);
    std::vector<Real> all(static_cast<std::size_t>(s.m * s.out)), part = all;
    linear_forward(context, o.x.data(), s.m, o.weight, all.data());
    std::vector<Real> dx_all(static_cast<std::size_t>(s.m * s.in)), dx_part = dx_all;
    linear_backward_input(context, o.dy.data(), s.m, o.weight, dx_all.data());
    for (const int m : {1, 2, 5, 15, 16, 31, 32, 100, 256, 257}) {
      linear_forward(context, o.x.data(), m, o.weight, part.data());
      linear_backward_input(context, o.dy.data(), m, o.weight, dx_part.data());
      const auto n = static_cast<std::ptrdiff_t>(m);
      ASSERT_TRUE(std::equal(part.begin(), part.begin() + n * s.out, all.begin())) << m;
      ASSERT_TRUE(std::equal(dx_part.begin(), dx_part.begin() + n * s.in, dx_all.begin())) << m;
    }
  }
}

TEST(Matmul, ANewVersionIsPackedAnew) {
  Context context;
  Operands o({3, 20, 10});
  std::vector<Real> before(60), after(60);
  linear_forward(context, o.x.data(), 3, o.weight, before.data());
  for (Real& x : o.w) x *= 2;
  linear_forward(context, o.x.data(), 3, o.weight, after.data());
  EXPECT_EQ(after, before) << "the same version keeps its packed copy";
  o.weight.version = 2;
  linear_forward(context, o.x.data(), 3, o.weight, after.data());
  for (Real& x : before) x *= 2;
  EXPECT_EQ(after, before);
}

}  // namespace
}  // namespace weft::trainer::kernels

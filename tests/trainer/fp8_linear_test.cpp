// A linear module's three products against the recipe written out number by number.
#include "trainer/kernels/fp8_linear.h"

#include <algorithm>
#include <functional>

#include "kernels_fixture.h"

namespace weft::trainer::kernels {
namespace {

struct Shape {
  int m, out, in;
};
const Shape kShapes[] = {{1, 1, 1}, {3, 5, 129}, {130, 33, 40}, {70, 260, 131}, {257, 64, 128}};

/// A matrix whose numbers are E4M3 codes times the scale of their tile of height x width.
struct Image {
  int rows, columns, height, width;
  std::vector<float> code, scale;
  float at(int r, int c) const { return code[static_cast<std::size_t>(r * columns + c)]; }
  float scale_at(int r, int c) const {
    const int across = (columns + width - 1) / width;
    return scale[static_cast<std::size_t>(r / height * across + c / width)];
  }
};

template <class T>
Image image(const std::vector<T>& x, int rows, int columns, int height, int width, Fp8Scale rule) {
  Image result{rows, columns, height, width, std::vector<float>(x.size()), {}};
  for (int top = 0; top < rows; top += height) {
    for (int left = 0; left < columns; left += width) {
      std::vector<std::size_t> tile;
      for (int r = top; r < std::min(rows, top + height); ++r)
        for (int c = left; c < std::min(columns, left + width); ++c)
          tile.push_back(static_cast<std::size_t>(r * columns + c));
      float largest = 0;
      for (const std::size_t i : tile) largest = std::max(largest, std::fabs(float(x[i])));
      const float scale = e4m3_scale(largest, rule);
      result.scale.push_back(scale);
      for (const std::size_t i : tile) {
        result.code[i] = from_e4m3(to_e4m3(static_cast<double>(float(x[i]) / scale)));
      }
    }
  }
  return result;
}

/// sum over blocks of 128: (sum of products of codes) * (product of the scales).
using Element = std::function<std::pair<float, float>(int k)>;  // code product, scale product
float blocked_sum(int inner, float sum, const Element& element) {
  for (int begin = 0; begin < inner; begin += 128) {
    float part = 0;
    for (int k = begin; k < std::min(inner, begin + 128); ++k) part += element(k).first;
    sum += part * element(begin).second;
  }
  return sum;
}

template <class T>
struct Operands {
  std::vector<T> x, dy;
  std::vector<Real> w;
  PackedCopy packed;
  Weight weight;

  explicit Operands(const Shape& s) : w(random_values(std::size_t(s.out * s.in), 2)) {
    for (const Real v : random_values(std::size_t(s.m * s.in), 1)) x.push_back(T(v));
    for (const Real v : random_values(std::size_t(s.m * s.out), 3, 1e-4)) dy.push_back(T(v));
    // Rows and columns of very different size.
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = std::ldexp(w[i], int(i % 23) - 11);
    weight = {w.data(), s.out, s.in, 1, &packed};
  }
};

template <class T>
void expect_forward(const Shape& s, Fp8Scale rule) {
  Context context;
  Operands<T> o(s);
  const Image x = image(o.x, s.m, s.in, 1, 128, rule);
  const Image w = image(o.w, s.out, s.in, 128, 128, Fp8Scale::Fp32);
  for (const bool accumulate : {false, true}) {
    std::vector<float> y(std::size_t(s.m * s.out), 0.25f);
    fp8_forward(context, o.x.data(), s.m, o.weight, rule, y.data(), accumulate);
    for (int i = 0; i < s.m; ++i)
      for (int j = 0; j < s.out; ++j) {
        const float want = blocked_sum(s.in, accumulate ? 0.25f : 0, [&](int k) {
          return std::pair{x.at(i, k) * w.at(j, k), x.scale_at(i, k) * w.scale_at(j, k)};
        });
        ASSERT_EQ(y[std::size_t(i * s.out + j)], want) << s.m << " " << s.out << " " << s.in;
      }
  }
}

template <class T>
void expect_backward_input(const Shape& s, Fp8Scale rule) {
  Context context;
  Operands<T> o(s);
  const Image dy = image(o.dy, s.m, s.out, 1, 128, rule);
  const Image w = image(o.w, s.out, s.in, 128, 128, Fp8Scale::Fp32);
  std::vector<float> dx(std::size_t(s.m * s.in));
  fp8_backward_input(context, o.dy.data(), s.m, o.weight, rule, dx.data());
  for (int i = 0; i < s.m; ++i)
    for (int k = 0; k < s.in; ++k) {
      const float want = blocked_sum(s.out, 0, [&](int j) {
        return std::pair{dy.at(i, j) * w.at(j, k), dy.scale_at(i, j) * w.scale_at(j, k)};
      });
      ASSERT_EQ(dx[std::size_t(i * s.in + k)], want) << s.m << " " << s.out << " " << s.in;
    }
}

template <class T>
void expect_backward_weight(const Shape& s, Fp8Scale rule) {
  Context context;
  Operands<T> o(s);
  const Fp8Scale other = rule == Fp8Scale::Fp32 ? Fp8Scale::PowerOfTwo : Fp8Scale::Fp32;
  const Image dy = image(o.dy, s.m, s.out, 128, 1, other);
  const Image x = image(o.x, s.m, s.in, 128, 1, rule);
  std::vector<float> dw(o.w.begin(), o.w.end());
  fp8_backward_weight(context, o.dy.data(), other, o.x.data(), rule, s.m, s.out, s.in, dw.data());
  for (int j = 0; j < s.out; ++j)
    for (int k = 0; k < s.in; ++k) {
      const float want = blocked_sum(s.m, o.w[std::size_t(j * s.in + k)], [&](int i) {
        return std::pair{dy.at(i, j) * x.at(i, k), dy.scale_at(i, j) * x.scale_at(i, k)};
      });
      ASSERT_EQ(dw[std::size_t(j * s.in + k)], want) << s.m << " " << s.out << " " << s.in;
    }
}

TEST(Fp8Linear, ForwardMultipliesTilesOfRowsWithBlocksOfTheWeight) {
  for (const Shape& s : kShapes) {
    expect_forward<float>(s, Fp8Scale::Fp32);
    expect_forward<Bf16>(s, Fp8Scale::PowerOfTwo);
  }
}

TEST(Fp8Linear, BackwardForTheInputMultipliesWithTheSameBlocksTransposed) {
  for (const Shape& s : kShapes) {
    expect_backward_input<float>(s, Fp8Scale::PowerOfTwo);
    expect_backward_input<Bf16>(s, Fp8Scale::Fp32);
  }
}

TEST(Fp8Linear, BackwardForTheWeightAddsProductsOfTilesAlongTheTokens) {
  for (const Shape& s : kShapes) {
    expect_backward_weight<float>(s, Fp8Scale::Fp32);
    expect_backward_weight<Bf16>(s, Fp8Scale::PowerOfTwo);
  }
}

TEST(Fp8Linear, KeptTilesAreReadAsTheirValuesForTheWeightsGradient) {
  const Shape s{150, 20, 140};
  Context context;
  Operands<Bf16> o(s);
  std::vector<std::uint8_t> codes(o.x.size());
  std::vector<float> scales(std::size_t(s.m * fp8_tiles(s.in))), values(o.x.size());
  quantize_rows(o.x.data(), s.m, s.in, Fp8Scale::Fp32, codes.data(), scales.data());
  const Fp8Rows kept{codes.data(), scales.data(), s.m, s.in};
  dequantize_rows(kept, values.data());
  std::vector<float> a(o.w.size()), b(o.w.size());
  fp8_backward_weight(context, o.dy.data(), Fp8Scale::Fp32, kept, Fp8Scale::Fp32, s.out, a.data());
  fp8_backward_weight(context, o.dy.data(), Fp8Scale::Fp32, values.data(), Fp8Scale::Fp32, s.m,
                      s.out, s.in, b.data());
  EXPECT_EQ(a, b);
}

TEST(Fp8Linear, ShowsTheWeightThatItsProductsRead) {
  Context context;
  Operands<float> o({1, 130, 200});
  std::vector<float> seen(o.w.size());
  fp8_dequantized(context, o.weight, seen.data());
  const Image w = image(o.w, 130, 200, 128, 128, Fp8Scale::Fp32);
  for (int r = 0; r < 130; ++r)
    for (int c = 0; c < 200; ++c) {
      ASSERT_EQ(seen[std::size_t(r * 200 + c)], w.at(r, c) * w.scale_at(r, c));
    }
}

TEST(Fp8Linear, ARowDoesNotDependOnTheOtherRowsNorOnThreads) {
  const Shape s{300, 72, 140};
  Context one, two(2);
  Operands<Bf16> o(s);
  std::vector<float> all(std::size_t(s.m * s.out)), part = all;
  std::vector<Bf16> dx_all(std::size_t(s.m * s.in)), dx_part = dx_all;
  fp8_forward(one, o.x.data(), s.m, o.weight, Fp8Scale::Fp32, all.data());
  fp8_backward_input(one, o.dy.data(), s.m, o.weight, Fp8Scale::Fp32, dx_all.data());
  for (const int m : {1, 2, 5, 63, 64, 66, 257, 300}) {
    Context& context = m % 2 == 0 ? two : one;
    fp8_forward(context, o.x.data(), m, o.weight, Fp8Scale::Fp32, part.data());
    fp8_backward_input(context, o.dy.data(), m, o.weight, Fp8Scale::Fp32, dx_part.data());
    ASSERT_TRUE(std::equal(part.begin(), part.begin() + m * s.out, all.begin())) << m;
    ASSERT_TRUE(std::equal(dx_part.begin(), dx_part.begin() + m * s.in, dx_all.begin())) << m;
  }
}

TEST(Fp8Linear, QuantisesAWeightOnceAVersion) {
  Context context;
  Operands<float> o({3, 20, 10});
  std::vector<float> before(60), after(60);
  fp8_forward(context, o.x.data(), 3, o.weight, Fp8Scale::Fp32, before.data());
  for (Real& v : o.w) v *= 2;
  fp8_forward(context, o.x.data(), 3, o.weight, Fp8Scale::Fp32, after.data());
  EXPECT_EQ(after, before);
  o.weight.version = 2;
  fp8_forward(context, o.x.data(), 3, o.weight, Fp8Scale::Fp32, after.data());
  for (float& v : before) v *= 2;
  EXPECT_EQ(after, before);
}

TEST(Fp8Linear, LetsNanAndInfinityOfWeightsAndRowsThrough) {
  Context context;
  Operands<float> o({4, 6, 8});
  o.w[8 * 2 + 3] = std::nanf("");  // output 2
  o.x[8 * 1 + 5] = INFINITY;       // row 1
  std::vector<float> y(24);
  fp8_forward(context, o.x.data(), 4, o.weight, Fp8Scale::Fp32, y.data());
  for (int i = 0; i < 24; ++i) {
    EXPECT_EQ(std::isnan(y[std::size_t(i)]), i / 6 == 1 || i % 6 == 2) << i;
  }
}

TEST(Fp8Linear, DoesNothingForNoRows) {
  Context context;
  Operands<float> o({1, 2, 3});
  fp8_forward(context, o.x.data(), 0, o.weight, Fp8Scale::Fp32, static_cast<float*>(nullptr));
  fp8_backward_weight(context, o.dy.data(), Fp8Scale::Fp32, o.x.data(), Fp8Scale::Fp32, 0, 2, 3,
                      static_cast<float*>(nullptr));
}

}  // namespace
}  // namespace weft::trainer::kernels

#include "trainer/kernels/fp8_product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/rng.h"

namespace weft::trainer::kernels {
namespace {

struct Codes {
  int rows, columns;
  std::vector<std::uint8_t> codes;
  float at(int r, int c) const {
    return from_e4m3(codes[static_cast<std::size_t>(r * columns + c)]);
  }
  Codes transposed() const {
    Codes t{columns, rows, std::vector<std::uint8_t>(codes.size())};
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < columns; ++c)
        t.codes[static_cast<std::size_t>(c * rows + r)] =
            codes[static_cast<std::size_t>(r * columns + c)];
    return t;
  }
};

/// Any codes but NaN: products of every size, so that sums round at every step.
Codes random_codes(int rows, int columns, std::uint64_t seed) {
  Codes result{rows, columns, {}};
  Rng rng(seed, "codes");
  for (int i = 0; i < rows * columns; ++i) {
    result.codes.push_back(static_cast<std::uint8_t>(rng.below(127) | rng.below(2) << 7));
  }
  return result;
}

/// [tiles][columns padded], any positive numbers in the padding too.
std::vector<float> random_scales(std::size_t n, std::uint64_t seed) {
  Rng rng(seed, "scales");
  std::vector<float> result;
  for (std::size_t i = 0; i < n; ++i) result.push_back(static_cast<float>(0.001 + rng.uniform()));
  return result;
}

struct Shape {
  int m, inner, n;
};
const Shape kShapes[] = {{1, 1, 1},    {3, 2, 5},     {4, 127, 31},  {5, 128, 32},
                         {7, 129, 33}, {33, 300, 70}, {66, 513, 130}};

int padded(int columns) { return fp8_panels(columns) * kFp8Panel; }

/// The sentence in fp8_product.h, word by word.
float slow(const Codes& left, const Codes& right, const std::vector<float>& left_scales,
           const std::vector<float>& right_scales, int i, int j, float sum) {
  const int tiles = fp8_tiles(left.columns);
  for (int tile = 0; tile < tiles; ++tile) {
    float part = 0;
    for (int k = tile * 128; k < std::min(left.columns, (tile + 1) * 128); ++k) {
      part += left.at(i, k) * right.at(k, j);
    }
    sum += part * (left_scales[static_cast<std::size_t>(i * tiles + tile)] *
                   right_scales[static_cast<std::size_t>(tile * padded(right.columns) + j)]);
  }
  return sum;
}

struct Operands {
  Codes left, right;
  std::vector<float> left_scales, right_scales;
  std::vector<Fp8Pair> left_pairs, right_pairs;

  explicit Operands(const Shape& s)
      : left(random_codes(s.m, s.inner, 1)),
        right(random_codes(s.inner, s.n, 2)),
        left_scales(random_scales(static_cast<std::size_t>(s.m * fp8_tiles(s.inner)), 3)),
        right_scales(random_scales(fp8_panel_scales(s.inner, s.n), 4)),
        left_pairs(static_cast<std::size_t>(s.m * fp8_pairs(s.inner))),
        right_pairs(fp8_panel_pairs(s.inner, s.n)) {
    pair_rows(left.codes.data(), s.m, s.inner, left_pairs.data());
    pair_panels(right.codes.data(), s.inner, s.n, right_pairs.data());
  }
  Fp8Left left_rows() const { return {left_pairs.data(), left_scales.data(), false}; }
  Fp8Right right_panels() const { return {right_pairs.data(), right_scales.data()}; }
};

TEST(Fp8Product, IsThePlainLoopBitForBit) {
  for (const Shape& s : kShapes) {
    const Operands o(s);
    for (const bool accumulate : {false, true}) {
      std::vector<float> c(static_cast<std::size_t>(s.m * s.n), 1.5f);
      fp8_product(o.left_rows(), o.right_panels(), 0, s.m, s.inner, s.m, s.n, c.data(), accumulate);
      for (int i = 0; i < s.m; ++i)
        for (int j = 0; j < s.n; ++j)
          ASSERT_EQ(
              c[static_cast<std::size_t>(i * s.n + j)],
              slow(o.left, o.right, o.left_scales, o.right_scales, i, j, accumulate ? 1.5f : 0.0f))
              << s.m << " x " << s.inner << " x " << s.n << " at " << i << ", " << j;
    }
  }
}

TEST(Fp8Product, OfAnyRowsGivesTheirBits) {
  const Shape s{61, 200, 45};
  const Operands o(s);
  std::vector<float> all(static_cast<std::size_t>(s.m * s.n)), part(all.size(), 0.0f);
  fp8_product(o.left_rows(), o.right_panels(), 0, s.m, s.inner, s.m, s.n, all.data(), false);
  for (const auto& [from, to] : {std::pair{0, 4}, {4, 21}, {24, 61}, {20, 24}}) {
    fp8_product(o.left_rows(), o.right_panels(), from, to, s.inner, s.m, s.n, part.data(), false);
  }
  EXPECT_EQ(std::vector<float>(part.begin(), part.begin() + 21 * s.n),
            std::vector<float>(all.begin(), all.begin() + 21 * s.n));
  EXPECT_TRUE(std::equal(part.begin() + 24 * s.n, part.end(), all.begin() + 24 * s.n));
}

TEST(Fp8Product, InBf16IsRoundedOnceAtTheEnd) {
  const Shape s{6, 260, 40};
  const Operands o(s);
  std::vector<float> wide(static_cast<std::size_t>(s.m * s.n), 2.0f);
  std::vector<Bf16> narrow(wide.begin(), wide.end());
  fp8_product(o.left_rows(), o.right_panels(), 0, s.m, s.inner, s.m, s.n, wide.data(), true);
  fp8_product(o.left_rows(), o.right_panels(), 0, s.m, s.inner, s.m, s.n, narrow.data(), true);
  for (std::size_t i = 0; i < wide.size(); ++i) EXPECT_EQ(narrow[i], Bf16(wide[i]));
}

TEST(Fp8Product, TakesBothOperandsInPanels) {
  const Shape s{37, 130, 41};
  const Operands o(s);
  std::vector<Fp8Pair> left(fp8_panel_pairs(s.inner, s.m)), right(o.right_pairs.size());
  pair_panels_transposed(o.left.codes.data(), s.inner, s.m, left.data());
  pair_panels_transposed(o.right.transposed().codes.data(), s.inner, s.n, right.data());
  EXPECT_EQ(right, o.right_pairs);
  std::vector<float> scales(fp8_panel_scales(s.inner, s.m));
  for (int i = 0; i < s.m; ++i)
    for (int t = 0; t < 2; ++t)
      scales[static_cast<std::size_t>(t * padded(s.m) + i)] =
          o.left_scales[static_cast<std::size_t>(i * 2 + t)];
  std::vector<float> a(static_cast<std::size_t>(s.m * s.n)), b(a.size());
  fp8_product(o.left_rows(), o.right_panels(), 0, s.m, s.inner, s.m, s.n, a.data(), false);
  fp8_product({left.data(), scales.data(), true}, o.right_panels(), 0, s.m, s.inner, s.m, s.n,
              b.data(), false);
  EXPECT_EQ(a, b);
}

TEST(Fp8Product, KeepsNanInItsRowOrColumn) {
  const Shape s{5, 140, 34};
  Operands o(s);
  o.left.codes[140 + 139] = 0x7f;
  pair_rows(o.left.codes.data(), s.m, s.inner, o.left_pairs.data());
  std::vector<float> c(static_cast<std::size_t>(s.m * s.n));
  fp8_product(o.left_rows(), o.right_panels(), 0, s.m, s.inner, s.m, s.n, c.data(), false);
  for (int i = 0; i < s.m * s.n; ++i) {
    EXPECT_EQ(std::isnan(c[static_cast<std::size_t>(i)]), i / s.n == 1) << i;
  }
}

TEST(Fp8Panels, HaveAScaleForEachColumnOf128Rows) {
  for (const auto& [inner, columns] : {std::pair{1, 1}, {127, 33}, {128, 64}, {300, 70}}) {
    for (const Fp8Scale rule : {Fp8Scale::Fp32, Fp8Scale::PowerOfTwo}) {
      Rng rng(7, "values");
      std::vector<float> x;
      for (int i = 0; i < inner * columns; ++i) {
        x.push_back(static_cast<float>(std::ldexp(rng.normal(), i % 31 - 15)));
      }
      x[static_cast<std::size_t>(inner * columns - 1)] = INFINITY;
      std::vector<Fp8Pair> pairs(fp8_panel_pairs(inner, columns));
      std::vector<float> scales(fp8_panel_scales(inner, columns));
      quantize_panels(x.data(), inner, columns, rule, pairs.data(), scales.data());
      Codes codes{inner, columns, std::vector<std::uint8_t>(x.size())};
      for (int c = 0; c < columns; ++c) {
        for (int top = 0; top < inner; top += 128) {
          float largest = 0;
          for (int r = top; r < std::min(inner, top + 128); ++r) {
            const float v = x[static_cast<std::size_t>(r * columns + c)];
            if (std::isfinite(v)) largest = std::max(largest, std::fabs(v));
          }
          const float scale = e4m3_scale(largest, rule);
          EXPECT_EQ(scales[static_cast<std::size_t>(top / 128 * padded(columns) + c)], scale);
          for (int r = top; r < std::min(inner, top + 128); ++r) {
            const auto i = static_cast<std::size_t>(r * columns + c);
            codes.codes[i] = to_e4m3(static_cast<double>(x[i] / scale));
          }
        }
      }
      std::vector<Fp8Pair> want(pairs.size());
      pair_panels(codes.codes.data(), inner, columns, want.data());
      EXPECT_EQ(pairs, want) << inner << " x " << columns;
    }
  }
}

}  // namespace
}  // namespace weft::trainer::kernels

#include "trainer/kernels/fp8_tiles.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "trainer/kernels/e5m6.h"

namespace weft::trainer::kernels {
namespace {

constexpr Fp8Scale kRules[] = {Fp8Scale::Fp32, Fp8Scale::PowerOfTwo};
constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNan = std::nanf("");

/// Values of very different size from row to row and column to column, with NaN, infinities, zeros.
std::vector<float> wild_values(int rows, int columns, std::uint64_t seed) {
  Rng rng(seed, "values");
  std::vector<float> x;
  for (int i = 0; i < rows * columns; ++i) {
    const int size = (i / columns * 7 + i % columns * 3) % 60 - 30;
    x.push_back(static_cast<float>(std::ldexp(rng.normal(), size)));
    if (rng.below(50) == 0) x.back() = 0;
    if (rng.below(400) == 0) x.back() = rng.below(2) == 0 ? kNan : -kInfinity;
  }
  return x;
}

float slow_scale(float largest, Fp8Scale rule) {
  if (largest == 0) return 1;
  if (rule == Fp8Scale::Fp32) return std::max(largest / 448.0f, std::ldexp(1.0f, -126));
  int k = -126;
  while (static_cast<double>(largest) > std::ldexp(448.0, k)) ++k;
  return std::ldexp(1.0f, k);
}

/// Codes and scales of every tile of height x width, element by element.
struct Slow {
  std::vector<std::uint8_t> codes;
  std::vector<float> scales, values;

  Slow(const std::vector<float>& x, int rows, int columns, int height, int width, Fp8Scale rule)
      : codes(x.size()), values(x.size()) {
    for (int top = 0; top < rows; top += height) {
      for (int left = 0; left < columns; left += width) {
        float largest = 0;
        const auto each = [&](const auto& run) {
          for (int r = top; r < std::min(rows, top + height); ++r)
            for (int c = left; c < std::min(columns, left + width); ++c)
              run(static_cast<std::size_t>(r * columns + c));
        };
        each([&](std::size_t i) {
          if (std::isfinite(x[i])) largest = std::max(largest, std::fabs(x[i]));
        });
        const float scale = slow_scale(largest, rule);
        scales.push_back(scale);
        each([&](std::size_t i) {
          codes[i] = to_e4m3(static_cast<double>(x[i] / scale));
          values[i] = from_e4m3(codes[i]) * scale;
        });
      }
    }
  }
};

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) != std::isnan(b[i])) return false;
    if (!std::isnan(a[i]) && a[i] != b[i]) return false;
  }
  return a.size() == b.size();
}

struct Tiles {
  std::vector<std::uint8_t> codes;
  std::vector<float> scales;
};

template <class T>
Tiles rows_of(const std::vector<T>& x, int rows, int columns, Fp8Scale rule) {
  Tiles t{std::vector<std::uint8_t>(x.size()),
          std::vector<float>(static_cast<std::size_t>(rows * fp8_tiles(columns)))};
  quantize_rows(x.data(), rows, columns, rule, t.codes.data(), t.scales.data());
  return t;
}

const int kColumns[] = {1, 7, 127, 128, 129, 255, 384, 400};

TEST(Fp8Rows, AreTheTilesOfTheSlowReference) {
  for (const int columns : kColumns) {
    for (const Fp8Scale rule : kRules) {
      const auto x = wild_values(5, columns, 1);
      const Slow want(x, 5, columns, 1, 128, rule);
      const Tiles got = rows_of(x, 5, columns, rule);
      EXPECT_EQ(got.codes, want.codes) << columns;
      EXPECT_EQ(got.scales, want.scales) << columns;
      std::vector<float> back(x.size());
      dequantize_rows({got.codes.data(), got.scales.data(), 5, columns}, back.data());
      EXPECT_TRUE(same(back, want.values)) << columns;
    }
  }
}

TEST(Fp8Rows, OfBf16AreThoseOfTheSameFloats) {
  const auto wild = wild_values(3, 200, 2);
  std::vector<Bf16> x(wild.begin(), wild.end());
  const std::vector<float> wide(x.begin(), x.end());
  for (const Fp8Scale rule : kRules) {
    const Tiles a = rows_of(x, 3, 200, rule), b = rows_of(wide, 3, 200, rule);
    EXPECT_EQ(a.codes, b.codes);
    EXPECT_EQ(a.scales, b.scales);
  }
}

TEST(Fp8Rows, DependOnTheirOwnRowOnly) {
  const auto x = wild_values(9, 300, 3);
  const Tiles all = rows_of(x, 9, 300, Fp8Scale::Fp32);
  for (int r = 0; r < 9; ++r) {
    const std::vector<float> row(x.begin() + r * 300, x.begin() + (r + 1) * 300);
    const Tiles alone = rows_of(row, 1, 300, Fp8Scale::Fp32);
    EXPECT_TRUE(std::equal(alone.codes.begin(), alone.codes.end(), all.codes.begin() + r * 300));
    EXPECT_TRUE(std::equal(alone.scales.begin(), alone.scales.end(), all.scales.begin() + r * 3));
  }
}

TEST(Fp8Rows, KeepZerosAsZerosAndNanAndInfinityAsNan) {
  const std::vector<float> x = {0, -0.0f, 0, kNan, kInfinity, -kInfinity, 2, -2};
  for (const Fp8Scale rule : kRules) {
    const Tiles zeros = rows_of(std::vector<float>(3, 0.0f), 1, 3, rule);
    EXPECT_EQ(zeros.scales, std::vector<float>{1});
    EXPECT_EQ(zeros.codes, std::vector<std::uint8_t>(3));
    const Tiles t = rows_of(x, 1, 8, rule);
    std::vector<float> back(8);
    dequantize_rows({t.codes.data(), t.scales.data(), 1, 8}, back.data());
    EXPECT_TRUE(same(back, {0, 0, 0, kNan, kNan, kNan, 2, -2}));
    const Tiles lost = rows_of(std::vector<float>(4, kNan), 1, 4, rule);
    EXPECT_EQ(lost.scales, std::vector<float>{1});
  }
}

TEST(Fp8Scale, MakesTheLargestValueTheLargestCode) {
  const Tiles t = rows_of(std::vector<float>{3, -1, 0.5f}, 1, 3, Fp8Scale::Fp32);
  EXPECT_EQ(t.scales[0], 3.0f / 448.0f);
  EXPECT_EQ(from_e4m3(t.codes[0]), 448.0f);
}

TEST(Fp8Scale, OfAPowerOfTwoIsTheSmallestThatHoldsTheValue) {
  EXPECT_EQ(e4m3_scale(448, Fp8Scale::PowerOfTwo), 1.0f);
  EXPECT_EQ(e4m3_scale(448.001f, Fp8Scale::PowerOfTwo), 2.0f);
  EXPECT_EQ(e4m3_scale(224, Fp8Scale::PowerOfTwo), 0.5f);
  EXPECT_EQ(e4m3_scale(1e-44f, Fp8Scale::PowerOfTwo), std::ldexp(1.0f, -126));
  EXPECT_EQ(e4m3_scale(1e-44f, Fp8Scale::Fp32), std::ldexp(1.0f, -126));
  EXPECT_EQ(e4m3_scale(std::numeric_limits<float>::max(), Fp8Scale::PowerOfTwo),
            std::ldexp(1.0f, 120));
}

TEST(Fp8Scale, OfAPowerOfTwoQuantisesWhatIsQuantisedToItself) {
  const auto x = wild_values(20, 256, 4);
  std::vector<float> once(x.size()), twice(x.size());
  const Tiles a = rows_of(x, 20, 256, Fp8Scale::PowerOfTwo);
  dequantize_rows({a.codes.data(), a.scales.data(), 20, 256}, once.data());
  const Tiles b = rows_of(once, 20, 256, Fp8Scale::PowerOfTwo);
  dequantize_rows({b.codes.data(), b.scales.data(), 20, 256}, twice.data());
  EXPECT_TRUE(same(twice, once));
}

TEST(Fp8Scale, NamesAreReadAndOthersRefused) {
  for (const Fp8Scale rule : kRules) EXPECT_EQ(*parse_fp8_scale(to_string(rule)), rule);
  const auto wrong = parse_fp8_scale("ue8m0");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message, "unknown FP8 scale 'ue8m0'; fp32 or power_of_two");
}

TEST(Fp8Blocks, AreThoseOfTheSlowReferenceAndBack) {
  for (const auto& [rows, columns] :
       {std::pair{1, 1}, {3, 130}, {128, 128}, {129, 257}, {300, 70}}) {
    for (const Fp8Scale rule : kRules) {
      const auto w = wild_values(rows, columns, 5);
      const Slow want(w, rows, columns, 128, 128, rule);
      std::vector<std::uint8_t> codes(w.size());
      std::vector<float> scales(static_cast<std::size_t>(fp8_tiles(rows) * fp8_tiles(columns)));
      quantize_blocks(w.data(), rows, columns, rule, codes.data(), scales.data());
      EXPECT_EQ(codes, want.codes) << rows << " x " << columns;
      EXPECT_EQ(scales, want.scales) << rows << " x " << columns;
      std::vector<float> back(w.size());
      dequantize_blocks(codes.data(), scales.data(), rows, columns, back.data());
      EXPECT_TRUE(same(back, want.values)) << rows << " x " << columns;
    }
  }
}

TEST(E5m6Rows, KeepSevenSignificantBitsInTwelve) {
  EXPECT_EQ(e5m6_row_bytes(128), 192u);
  EXPECT_EQ(e5m6_row_bytes(3), 5u);
  for (const int columns : kColumns) {
    Rng rng(6, "values");
    std::vector<float> x;
    for (int i = 0; i < 4 * columns; ++i) x.push_back(static_cast<float>(rng.normal()));
    std::vector<std::uint8_t> codes(4 * e5m6_row_bytes(columns));
    std::vector<float> scales(static_cast<std::size_t>(4 * fp8_tiles(columns))), back(x.size());
    store_e5m6(x.data(), 4, columns, codes.data(), scales.data());
    load_e5m6(codes.data(), scales.data(), 4, columns, back.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_LE(std::fabs(back[i] - x[i]), std::fabs(x[i]) / 128 + 1e-8f) << columns;
    }
    for (const float scale : scales) {
      int exponent = 0;
      EXPECT_EQ(std::frexp(scale, &exponent), 0.5f);
    }
  }
}

TEST(E5m6Rows, KeepExtremesZerosAndNan) {
  const std::vector<float> x = {3e38f, -3e38f, 1e-30f, kNan, 0, kInfinity, -1e38f};
  std::vector<std::uint8_t> codes(e5m6_row_bytes(7));
  std::vector<float> scales(1), back(7);
  store_e5m6(x.data(), 1, 7, codes.data(), scales.data());
  load_e5m6(codes.data(), scales.data(), 1, 7, back.data());
  EXPECT_NEAR(back[0] / 3e38f, 1, 0.01);
  EXPECT_NEAR(back[1] / -3e38f, 1, 0.01);
  EXPECT_NEAR(back[6] / -1e38f, 1, 0.01);
  EXPECT_EQ(back[2], 0.0f);
  EXPECT_EQ(back[4], 0.0f);
  EXPECT_TRUE(std::isnan(back[3]) && std::isnan(back[5]));
  const std::vector<float> zeros(7, 0.0f);
  store_e5m6(zeros.data(), 1, 7, codes.data(), scales.data());
  load_e5m6(codes.data(), scales.data(), 1, 7, back.data());
  EXPECT_EQ(back, zeros);
}

}  // namespace
}  // namespace weft::trainer::kernels

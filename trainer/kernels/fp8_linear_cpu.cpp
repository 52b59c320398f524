#include <algorithm>

#include "trainer/kernels/fp8_linear.h"
#include "trainer/kernels/fp8_product.h"
#include "trainer/kernels/parallel.h"

namespace weft::trainer::kernels {
namespace {

enum Slot { kCodes, kScales, kLeftPairs, kRightPairs, kRightScales };

/// Rows that one thread takes at a time; a multiple of four, as fp8_product wants it.
constexpr int kRowsAtATime = 64;

template <class Y>
void product(Context& context, const Fp8Left& left, const Fp8Right& right, int rows, int inner,
             int columns, Y* y, bool accumulate) {
  parallel_for(context, (rows + kRowsAtATime - 1) / kRowsAtATime, [&](Context&, int i) {
    fp8_product(left, right, i * kRowsAtATime, std::min(rows, (i + 1) * kRowsAtATime), inner, rows,
                columns, y, accumulate);
  });
}

/// x [m, inner] in 1 x 128 tiles, as a left operand.
template <class X>
Fp8Left quantized_rows(Context& context, const X* x, int m, int inner, Fp8Scale scale) {
  const auto rows = static_cast<std::size_t>(m);
  const auto codes = context.scratch<std::uint8_t>(kCodes, rows * static_cast<std::size_t>(inner));
  const auto scales =
      context.scratch<float>(kScales, rows * static_cast<std::size_t>(fp8_tiles(inner)));
  const auto pairs =
      context.scratch<Fp8Pair>(kLeftPairs, rows * static_cast<std::size_t>(fp8_pairs(inner)));
  quantize_rows(x, m, inner, scale, codes.data(), scales.data());
  pair_rows(codes.data(), m, inner, pairs.data());
  return {pairs.data(), scales.data(), false};
}

/// A weight as a right operand: `inner` of the product is W's columns (forward: transposed) or W's
/// rows (backward), the other one its columns. Scales of blocks are spread over their columns.
void quantize_weight(Context& context, const Weight& weight, bool transposed, Fp8Pair* pairs,
                     float* scales) {
  const int tile_rows = fp8_tiles(weight.out), tile_columns = fp8_tiles(weight.in);
  const auto codes = context.scratch<std::uint8_t>(
      kCodes, static_cast<std::size_t>(weight.out) * static_cast<std::size_t>(weight.in));
  const auto of_blocks = context.scratch<float>(
      kScales, static_cast<std::size_t>(tile_rows) * static_cast<std::size_t>(tile_columns));
  quantize_blocks(weight.value, weight.out, weight.in, Fp8Scale::Fp32, codes.data(),
                  of_blocks.data());
  const int inner = transposed ? weight.in : weight.out;
  const int columns = transposed ? weight.out : weight.in;
  if (transposed) {
    pair_panels_transposed(codes.data(), inner, columns, pairs);
  } else {
    pair_panels(codes.data(), inner, columns, pairs);
  }
  for (int tile = 0; tile < fp8_tiles(inner); ++tile) {
    for (int c = 0; c < fp8_panels(columns) * kFp8Panel; ++c) {
      const int other = std::min(c, columns - 1) / kFp8Tile;
      *scales++ = of_blocks[static_cast<std::size_t>(transposed ? other * tile_columns + tile
                                                                : tile * tile_columns + other)];
    }
  }
}

/// The weight's copy for one of the two products, made anew when the weight has changed.
Fp8Right right_operand(Context& context, const Weight& weight, bool transposed) {
  PackedCopy::Layout& copy = transposed ? weight.packed->forward : weight.packed->backward;
  const int inner = transposed ? weight.in : weight.out;
  const int columns = transposed ? weight.out : weight.in;
  const std::size_t num_pairs = fp8_panel_pairs(inner, columns);
  const std::size_t num_scales = fp8_panel_scales(inner, columns);
  if (copy.version != weight.version || copy.number != sizeof(std::uint8_t)) {
    copy.storage.resize(num_pairs * sizeof(Fp8Pair) + num_scales * sizeof(float));
  }
  auto* pairs = reinterpret_cast<Fp8Pair*>(copy.storage.data());
  auto* scales = reinterpret_cast<float*>(copy.storage.data() + num_pairs * sizeof(Fp8Pair));
  if (copy.version != weight.version || copy.number != sizeof(std::uint8_t)) {
    quantize_weight(context, weight, transposed, pairs, scales);
    copy.version = weight.version;
    copy.number = sizeof(std::uint8_t);
  }
  return {pairs, scales};
}

}  // namespace

template <class X, class Y>
void fp8_forward(Context& context, const X* x, int m, const Weight& weight, Fp8Scale scale, Y* y,
                 bool accumulate) {
  if (m == 0) return;
  const Fp8Right right = right_operand(context, weight, true);
  product(context, quantized_rows(context, x, m, weight.in, scale), right, m, weight.in, weight.out,
          y, accumulate);
}

template <class X, class Y>
void fp8_backward_input(Context& context, const X* dy, int m, const Weight& weight, Fp8Scale scale,
                        Y* dx, bool accumulate) {
  if (m == 0) return;
  const Fp8Right right = right_operand(context, weight, false);
  product(context, quantized_rows(context, dy, m, weight.out, scale), right, m, weight.out,
          weight.in, dx, accumulate);
}

template <class D, class X>
void fp8_backward_weight(Context& context, const D* dy, const X* x, int m, int out, int in,
                         Fp8Scale scale, float* dw) {
  if (m == 0) return;
  const auto left_pairs = context.scratch<Fp8Pair>(kLeftPairs, fp8_panel_pairs(m, out));
  const auto left_scales = context.scratch<float>(kScales, fp8_panel_scales(m, out));
  quantize_panels(dy, m, out, scale, left_pairs.data(), left_scales.data());
  const auto right_pairs = context.scratch<Fp8Pair>(kRightPairs, fp8_panel_pairs(m, in));
  const auto right_scales = context.scratch<float>(kRightScales, fp8_panel_scales(m, in));
  quantize_panels(x, m, in, scale, right_pairs.data(), right_scales.data());
  product(context, {left_pairs.data(), left_scales.data(), true},
          {right_pairs.data(), right_scales.data()}, out, m, in, dw, true);
}

#define WEFT_INSTANTIATE(A, B)                                                                  \
  template void fp8_forward(Context&, const A*, int, const Weight&, Fp8Scale, B*, bool);        \
  template void fp8_backward_input(Context&, const A*, int, const Weight&, Fp8Scale, B*, bool); \
  template void fp8_backward_weight(Context&, const A*, const B*, int, int, int, Fp8Scale, float*);
WEFT_INSTANTIATE(float, float)
WEFT_INSTANTIATE(float, Bf16)
WEFT_INSTANTIATE(Bf16, float)
WEFT_INSTANTIATE(Bf16, Bf16)
#undef WEFT_INSTANTIATE

}  // namespace weft::trainer::kernels

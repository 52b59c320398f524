#include <algorithm>
#include <utility>

#include "trainer/kernels/fp8_linear.h"
#include "trainer/kernels/fp8_product.h"
#include "trainer/kernels/parallel.h"

namespace weft::trainer::kernels {
namespace {

enum Slot { kCodes, kScales, kLeftPairs, kRightPairs, kRightScales, kValues };

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

/// A weight's codes and scales, in scratch.
std::pair<const std::uint8_t*, const float*> quantized_blocks(Context& context,
                                                              const Weight& weight) {
  const auto codes = context.scratch<std::uint8_t>(
      kCodes, static_cast<std::size_t>(weight.out) * static_cast<std::size_t>(weight.in));
  const auto scales =
      context.scratch<float>(kScales, static_cast<std::size_t>(fp8_tiles(weight.out)) *
                                          static_cast<std::size_t>(fp8_tiles(weight.in)));
  quantize_blocks(weight.value, weight.out, weight.in, Fp8Scale::Fp32, codes.data(), scales.data());
  return {codes.data(), scales.data()};
}

/// A weight as a right operand: `inner` of the product is W's columns (forward: transposed) or W's
/// rows (backward), the other one its columns. Scales of blocks are spread over their columns.
void quantize_weight(Context& context, const Weight& weight, bool transposed, Fp8Pair* pairs,
                     float* scales) {
  const auto [codes, of_blocks] = quantized_blocks(context, weight);
  const int tile_columns = fp8_tiles(weight.in);
  const int inner = transposed ? weight.in : weight.out;
  const int columns = transposed ? weight.out : weight.in;
  if (transposed) {
    pair_panels_transposed(codes, inner, columns, pairs);
  } else {
    pair_panels(codes, inner, columns, pairs);
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
void fp8_backward_weight(Context& context, const D* dy, Fp8Scale dy_scale, const X* x,
                         Fp8Scale x_scale, int m, int out, int in, float* dw) {
  if (m == 0) return;
  const auto left_pairs = context.scratch<Fp8Pair>(kLeftPairs, fp8_panel_pairs(m, out));
  const auto left_scales = context.scratch<float>(kScales, fp8_panel_scales(m, out));
  quantize_panels(dy, m, out, dy_scale, left_pairs.data(), left_scales.data());
  const auto right_pairs = context.scratch<Fp8Pair>(kRightPairs, fp8_panel_pairs(m, in));
  const auto right_scales = context.scratch<float>(kRightScales, fp8_panel_scales(m, in));
  quantize_panels(x, m, in, x_scale, right_pairs.data(), right_scales.data());
  product(context, {left_pairs.data(), left_scales.data(), true},
          {right_pairs.data(), right_scales.data()}, out, m, in, dw, true);
}

template <class D>
void fp8_backward_weight(Context& context, const D* dy, Fp8Scale dy_scale, const Fp8Rows& x,
                         Fp8Scale x_scale, int out, float* dw) {
  const auto values = context.scratch<float>(
      kValues, static_cast<std::size_t>(x.rows) * static_cast<std::size_t>(x.columns));
  dequantize_rows(x, values.data());
  fp8_backward_weight(context, dy, dy_scale, values.data(), x_scale, x.rows, out, x.columns, dw);
}

void fp8_dequantized(Context& context, const Weight& weight, float* w) {
  const auto [codes, scales] = quantized_blocks(context, weight);
  dequantize_blocks(codes, scales, weight.out, weight.in, w);
}

#define WEFT_INSTANTIATE(A, B)                                                                  \
  template void fp8_forward(Context&, const A*, int, const Weight&, Fp8Scale, B*, bool);        \
  template void fp8_backward_input(Context&, const A*, int, const Weight&, Fp8Scale, B*, bool); \
  template void fp8_backward_weight(Context&, const A*, Fp8Scale, const B*, Fp8Scale, int, int, \
                                    int, float*);
WEFT_INSTANTIATE(float, float)
WEFT_INSTANTIATE(float, Bf16)
WEFT_INSTANTIATE(Bf16, float)
WEFT_INSTANTIATE(Bf16, Bf16)
#undef WEFT_INSTANTIATE
template void fp8_backward_weight(Context&, const float*, Fp8Scale, const Fp8Rows&, Fp8Scale, int,
                                  float*);
template void fp8_backward_weight(Context&, const Bf16*, Fp8Scale, const Fp8Rows&, Fp8Scale, int,
                                  float*);

}  // namespace weft::trainer::kernels

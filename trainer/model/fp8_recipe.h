// Which numbers DeepSeek-V3's FP8 recipe wants where: the choices, apart from the products that
// follow them (kernels/fp8_linear.h) and from what is kept how long (fp8_kept.cpp).
// Source: DeepSeek-V3 report, section 3.3.
#pragma once

#include "trainer/kernels/fp8_tiles.h"
#include "trainer/model/linear_kind.h"

namespace weft::trainer {

/// What the report leaves open, or later models changed. Job fields `fp8.*`.
struct Fp8Options {
  /// Of all tiles but those where the report itself asks for powers of two. V3 has fp32, its
  /// successors power_of_two.
  kernels::Fp8Scale scales = kernels::Fp8Scale::Fp32;
  friend bool operator==(const Fp8Options&, const Fp8Options&) = default;
};

/// Attention's and feed-forwards' projections. Embedding, head and gate are none, nor are norms and
/// attention itself, which have no such products.
constexpr bool is_fp8_module(LinearKind kind) {
  return kind != LinearKind::Gate && kind != LinearKind::Embedding && kind != LinearKind::Head &&
         kind != LinearKind::NextToken;
}

/// The scale of the rows that a module multiplies. Powers of two for the input of the linear after
/// attention and for rows that were dispatched: E4M3 with such scales, so that quantising them
/// again here changes nothing.
constexpr kernels::Fp8Scale input_scale(LinearKind kind, const Fp8Options& options) {
  const bool power = kind == LinearKind::AttentionOut || kind == LinearKind::ExpertGateUp;
  return power ? kernels::Fp8Scale::PowerOfTwo : options.scales;
}

/// The scale of the gradient of its result. Powers of two for the one that comes dispatched.
constexpr kernels::Fp8Scale gradient_scale(LinearKind kind, const Fp8Options& options) {
  return kind == LinearKind::ExpertDown ? kernels::Fp8Scale::PowerOfTwo : options.scales;
}

/// Does the weight's gradient read the module's input as its 1 x 128 tiles of the forward pass? If
/// not, the input is made anew in the backward (SwiGLU's result) or was kept otherwise (E5M6).
constexpr bool gradient_reads_forward_tiles(LinearKind kind) {
  return kind != LinearKind::AttentionOut && kind != LinearKind::MlpDown &&
         kind != LinearKind::ExpertDown;
}

}  // namespace weft::trainer

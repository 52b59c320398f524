// What a block keeps from its forward to its backward with FP8, and how the backward reads it:
//
//   inputs of linears   the 1 x 128 tiles that the forward multiplied; norm2 of a MoE layer stays
//                       BF16, because the gate reads it too
//   input of o_proj     E5M6 with power-of-two scales
//   SwiGLU              its input in 1 x 128 tiles; its result is computed again
//
// A block that recomputes reads the same numbers: what is made again passes through the same
// rounding before the backward sees it. All functions do their work for Act = Bf16 only.
// Source: DeepSeek-V3 report, section 3.3.3.
#include <type_traits>

#include "trainer/kernels/e5m6.h"
#include "trainer/kernels/swiglu.h"
#include "trainer/model/stage_impl.h"

namespace weft::trainer {

using kernels::Fp8Rows;
using kernels::Fp8Scale;

namespace {

std::size_t scale_bytes(int rows, int columns) {
  return elements(rows, kernels::fp8_tiles(columns)) * sizeof(float);
}

}  // namespace

Fp8Rows packed_rows(const Buffer<std::uint8_t>& packed, int rows, int columns) {
  return {packed.data() + scale_bytes(rows, columns), reinterpret_cast<const float*>(packed.data()),
          rows, columns};
}

template <class Act>
void StageImpl<Act>::pack(Buffer<Act>& values, Buffer<std::uint8_t>& packed, int rows, int columns,
                          Fp8Scale scale) {
  if (!values.held()) return;
  if constexpr (std::is_same_v<Act, Bf16>) {
    const std::size_t scales = scale_bytes(rows, columns);
    std::uint8_t* to = take(packed, scales + elements(rows, columns));
    kernels::quantize_rows(values.data(), rows, columns, scale, to + scales,
                           reinterpret_cast<float*>(to));
    drop(values);
  }
}

/// Once the block's attention is done, and once more when it was computed again.
template <class Act>
void StageImpl<Act>::pack_attention(int slot, int layer) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens();
  const auto [a, w] = at(slot, layer);
  const Fp8Scale scale = linear.fp8().scales;
  pack(a.norm1, a.norm1_fp8, n, config.hidden_size, scale);
  if (config.latent_attention()) {
    pack(a.q_norm, a.q_norm_fp8, n, config.q_lora_rank, scale);
    pack(a.kv_norm, a.kv_norm_fp8, n, config.kv_lora_rank, scale);
  }
  if constexpr (std::is_same_v<Act, Bf16>) {
    const std::size_t scales = scale_bytes(n, w.out.in);
    std::uint8_t* to = take(
        a.attended_e5m6, scales + static_cast<std::size_t>(n) * kernels::e5m6_row_bytes(w.out.in));
    kernels::store_e5m6(a.attended.data(), n, w.out.in, to + scales, reinterpret_cast<float*>(to));
    drop(a.attended);
  }
}

template <class Act>
void StageImpl<Act>::pack_experts(int slot, int layer) {
  const int n = batches[static_cast<std::size_t>(slot)].num_tokens();
  const auto [a, w] = at(slot, layer);
  const Fp8Scale scale = linear.fp8().scales;
  if (!w.moe) pack(a.norm2, a.norm2_fp8, n, config.hidden_size, scale);
  pack(a.mlp.gate_up, a.mlp.gate_up_fp8, n, 2 * w.mlp.width, scale);
  drop(a.mlp.act);
  if (!w.moe) return;
  const int rows = a.layout->num_slots, width = config.moe_intermediate_size;
  pack(a.slot_in, a.slot_in_fp8, rows, config.hidden_size,
       input_scale(LinearKind::ExpertGateUp, linear.fp8()));
  pack(a.routed.gate_up, a.routed.gate_up_fp8, rows, 2 * width, scale);
  drop(a.routed.act);
}

/// Exact: seven significant bits are fewer than BF16 has.
template <class Act>
const Act* StageImpl<Act>::attended_for_weights(int slot, int layer) {
  const auto [a, w] = at(slot, layer);
  if constexpr (std::is_same_v<Act, Bf16>) {
    if (a.attended_e5m6.held()) {
      const int n = batches[static_cast<std::size_t>(slot)].num_tokens();
      Act* values = context.scratch<Act>(kKept, elements(n, w.out.in)).data();
      kernels::load_e5m6(a.attended_e5m6.data() + scale_bytes(n, w.out.in),
                         reinterpret_cast<const float*>(a.attended_e5m6.data()), n, w.out.in,
                         values);
      return values;
    }
  }
  return a.attended.data();
}

template <class Act>
const Act* StageImpl<Act>::gate_up_for_backward(MlpActivations<Act>& m, int rows, int width) {
  if constexpr (std::is_same_v<Act, Bf16>) {
    if (m.gate_up_fp8.held()) {
      Act* values = context.scratch<Act>(kKept, elements(rows, 2 * width)).data();
      kernels::dequantize_rows(packed_rows(m.gate_up_fp8, rows, 2 * width), values);
      return values;
    }
  }
  return m.gate_up.data();
}

template <class Act>
const Act* StageImpl<Act>::act_for_weights(MlpActivations<Act>& m, int rows, int width) {
  if (!m.gate_up_fp8.held()) return m.act.data();
  Act* act = context.scratch<Act>(kKept + 1, elements(rows, width)).data();
  kernels::swiglu_forward(context, gate_up_for_backward(m, rows, width), rows, width, act);
  return act;
}

#define WEFT_INSTANTIATE(Act)                                                               \
  template void StageImpl<Act>::pack_attention(int, int);                                   \
  template void StageImpl<Act>::pack_experts(int, int);                                     \
  template const Act* StageImpl<Act>::attended_for_weights(int, int);                       \
  template const Act* StageImpl<Act>::gate_up_for_backward(MlpActivations<Act>&, int, int); \
  template const Act* StageImpl<Act>::act_for_weights(MlpActivations<Act>&, int, int);
WEFT_FOR_EACH_ACTIVATION(WEFT_INSTANTIATE)

}  // namespace weft::trainer

// What one micro-batch leaves behind on its way through a stage, until its weight gradients are
// done. Every buffer is dropped by the last phase that reads it (recompute.cpp has the lists).
//
// Act is the type of what is kept for the backward or multiplied: Real or Bf16. The residual
// stream, its gradient, statistics of norms, routing scores and logits are Real always.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <vector>

#include "comm/exchange/expert_exchange.h"
#include "trainer/batch.h"
#include "trainer/model/arena.h"
#include "trainer/real.h"

namespace weft::trainer {

/// A SwiGLU feed-forward's intermediate values and their gradients.
template <class Act>
struct MlpActivations {
  Buffer<Act> gate_up, act;  // [rows, 2 * width], [rows, width]
  Buffer<Act> d_gate_up;
  Buffer<std::uint8_t> gate_up_fp8;  // FP8 keeps this of gate_up and act
};

template <class Act>
struct LayerActivations {
  // Kept in every mode: what the next block reads, and what the routing decided. T tokens.
  Buffer<Real> output;               // [T, hidden]
  std::vector<std::int32_t> chosen;  // [T, top_k]
  // Forward.
  Buffer<Act> norm1;               // [T, hidden]
  Buffer<Act> q_latent, q_norm;    // [T, q_lora]
  Buffer<Act> q;                   // [T, heads * (nope + rope)], rotated
  Buffer<Act> kv_latent, kv_norm;  // [T, kv_lora + rope], [T, kv_lora]
  Buffer<Act> k_rope;              // [T, rope], rotated
  Buffer<Act> kv;                  // [T, heads * (nope + value)]
  // Grouped-query: q_latent, kv_latent are queries and keys [T, heads or kv_heads * dim] before
  // their norm where there is one, k_rope keys after it, kv both for every query head.
  Buffer<Act> values;                          // [T, kv_heads * dim]
  Buffer<Act> attended;                        // [T, heads * value]
  Buffer<Real> middle;                         // [T, hidden]: input + attention
  Buffer<Act> norm2;                           // [T, hidden]
  Buffer<Real> rstd1, q_rstd, kv_rstd, rstd2;  // [T]
  MlpActivations<Act> mlp;                     // dense layers' or shared experts'
  // Routed experts.
  Buffer<Real> scores, gate_weight;  // [T, experts], [T, top_k]
  std::unique_ptr<comm::ExpertLayout> layout;
  std::size_t layout_bytes = 0;   // of rows in the layout, as charged to the arena
  const Real* rows_in = nullptr;  // what dispatch brought; lives as long as the layout
  Buffer<Act> slot_in;            // [num_slots, hidden]
  MlpActivations<Act> routed;     // by slot
  Buffer<Act> slot_out;           // [num_slots, hidden], before the gate weight
  Buffer<Real> rows_out;          // [num_rows, hidden]; until combine begins
  // What FP8 keeps of those of the same name from the forward to the backward (fp8_kept.cpp).
  Buffer<std::uint8_t> norm1_fp8, q_norm_fp8, kv_norm_fp8, norm2_fp8, slot_in_fp8, attended_e5m6;
  // Backward.
  const Real* d_rows_out = nullptr;           // what combine's backward brought
  Buffer<Act> d_slot_out, d_slot_in;          // [num_slots, hidden]
  Buffer<Real> d_rows_in;                     // [num_rows, hidden]
  Buffer<Real> d_slot_weight, d_gate_weight;  // [num_slots], [T, top_k]
  Buffer<Real> d_router;                      // [T, experts]
  Buffer<Real> d_norm2;                       // [T, hidden]
  Buffer<Act> d_middle;                       // [T, hidden]
  Buffer<Act> dq, d_kv;                       // as q, kv
  Buffer<Act> d_q_latent, d_kv_latent;        // as q_latent, kv_latent
  Buffer<Act> d_values;                       // as values
  Buffer<Real> d_norm_weights;                // [2 * hidden + attention_gains]
  Buffer<Real> d_input;                       // [T, hidden]

  /// What a block's backward needs and a recomputing forward can make again.
  template <class Run>
  void each_forward(const Run& run) {
    for (AnyBuffer* b : std::initializer_list<AnyBuffer*>{
             &norm1,    &rstd1,      &q_latent,       &q_rstd,      &q_norm,
             &q,        &kv_latent,  &kv_rstd,        &kv_norm,     &k_rope,
             &kv,       &attended,   &values,         &middle,      &norm2,
             &rstd2,    &scores,     &slot_in,        &mlp.gate_up, &mlp.act,
             &slot_out, &routed.act, &routed.gate_up, &gate_weight}) {
      run(*b);
    }
    for (AnyBuffer* b : std::initializer_list<AnyBuffer*>{&norm1_fp8, &q_norm_fp8, &kv_norm_fp8,
                                                          &norm2_fp8, &slot_in_fp8, &attended_e5m6,
                                                          &mlp.gate_up_fp8, &routed.gate_up_fp8}) {
      run(*b);
    }
  }
  /// Gradients other than d_input.
  template <class Run>
  void each_gradient(const Run& run) {
    for (AnyBuffer* b : std::initializer_list<AnyBuffer*>{
             &d_slot_out, &d_slot_in, &d_rows_in, &d_slot_weight, &d_gate_weight, &d_router,
             &d_norm2, &d_middle, &dq, &d_kv, &d_q_latent, &d_kv_latent, &d_values, &d_norm_weights,
             &mlp.d_gate_up, &routed.d_gate_up}) {
      run(*b);
    }
  }
  template <class Run>
  void each(const Run& run) {
    each_forward(run);
    each_gradient(run);
    run(output);
    run(rows_out);
    run(d_input);
  }
};

template <class Act>
struct HeadActivations {
  std::vector<std::int32_t> rows;     // tokens that have a loss, or each sequence's last one
  std::vector<std::int32_t> targets;  // of those rows
  Buffer<Real> picked, rstd;          // [rows, hidden], [rows]
  Buffer<Act> norm;                   // [rows, hidden]
  Buffer<Real> logits;                // [rows, vocab]; until the losses are made
  Buffer<Act> d_logits;               // [rows, vocab]; Train. Act = Real: the memory of the logits
  Buffer<Real> d_norm_weight;         // [hidden]
  Buffer<Real> d_input;               // [T, hidden]: the output gradient that the head makes

  template <class Run>
  void each(const Run& run) {
    for (AnyBuffer* b : std::initializer_list<AnyBuffer*>{&picked, &rstd, &norm, &logits, &d_logits,
                                                          &d_norm_weight, &d_input}) {
      run(*b);
    }
  }
};

template <class Act>
struct Activations {
  Buffer<Real> input;            // [T, hidden]
  Buffer<Real> output_gradient;  // [T, hidden]
  std::vector<LayerActivations<Act>> layers;
  HeadActivations<Act> head;
  std::vector<std::int32_t> cache_rows;  // Decode: of each token

  template <class Run>
  void each(const Run& run) {
    run(input);
    run(output_gradient);
    for (LayerActivations<Act>& layer : layers) layer.each(run);
    head.each(run);
  }
};

}  // namespace weft::trainer

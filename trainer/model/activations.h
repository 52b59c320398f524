// What one micro-batch leaves behind on its way through a stage, until its weight gradients are
// done. Every buffer is dropped by the last phase that reads it (recompute.cpp has the lists).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "comm/exchange/expert_exchange.h"
#include "trainer/batch.h"
#include "trainer/model/arena.h"
#include "trainer/real.h"

namespace weft::trainer {

/// A SwiGLU feed-forward's intermediate values and their gradients.
struct MlpActivations {
  Buffer gate_up, act;  // [rows, 2 * width], [rows, width]
  Buffer d_gate_up;
};

struct LayerActivations {
  // Kept in every mode: what the next block reads, and what the routing decided. T tokens.
  Buffer output;                     // [T, hidden]
  std::vector<std::int32_t> chosen;  // [T, top_k]
  // Forward.
  Buffer norm1, rstd1;                 // [T, hidden], [T]
  Buffer q_latent, q_rstd, q_norm;     // [T, q_lora], [T], [T, q_lora]
  Buffer q;                            // [T, heads * (nope + rope)], rotated
  Buffer kv_latent, kv_rstd, kv_norm;  // [T, kv_lora + rope], [T], [T, kv_lora]
  Buffer k_rope;                       // [T, rope], rotated
  Buffer kv;                           // [T, heads * (nope + value)]
  Buffer attended;                     // [T, heads * value]
  Buffer middle;                       // [T, hidden]: input + attention
  Buffer norm2, rstd2;                 // [T, hidden], [T]
  MlpActivations mlp;                  // dense layers' or shared experts'
  // Routed experts.
  Buffer scores, gate_weight;  // [T, experts], [T, top_k]
  std::unique_ptr<comm::ExpertLayout> layout;
  std::size_t layout_bytes = 0;   // of rows in the layout, as charged to the arena
  const Real* rows_in = nullptr;  // what dispatch brought; lives as long as the layout
  Buffer slot_in;                 // [num_slots, hidden]
  MlpActivations routed;          // by slot
  Buffer slot_out;                // [num_slots, hidden], before the gate weight
  Buffer rows_out;                // [num_rows, hidden]; until combine begins
  // Backward.
  const Real* d_rows_out = nullptr;     // what combine's backward brought
  Buffer d_slot_out;                    // [num_slots, hidden]
  Buffer d_slot_in, d_rows_in;          // [num_slots, hidden], [num_rows, hidden]
  Buffer d_slot_weight, d_gate_weight;  // [num_slots], [T, top_k]
  Buffer d_router;                      // [T, experts]
  Buffer d_norm2;                       // [T, hidden]
  Buffer d_middle;                      // [T, hidden]
  Buffer dq, d_kv;                      // as q, kv
  Buffer d_q_latent, d_kv_latent;       // as q_latent, kv_latent
  Buffer d_norm_weights;                // [2 * hidden + q_lora + kv_lora]
  Buffer d_input;                       // [T, hidden]

  /// What a block's backward needs and a recomputing forward can make again.
  template <class Run>
  void each_forward(const Run& run) {
    for (Buffer* b :
         {&norm1,     &rstd1,    &q_latent,   &q_rstd,         &q_norm,     &q,
          &kv_latent, &kv_rstd,  &kv_norm,    &k_rope,         &kv,         &attended,
          &middle,    &norm2,    &rstd2,      &scores,         &slot_in,    &mlp.gate_up,
          &mlp.act,   &slot_out, &routed.act, &routed.gate_up, &gate_weight}) {
      run(*b);
    }
  }
  /// Gradients other than d_input.
  template <class Run>
  void each_gradient(const Run& run) {
    for (Buffer* b : {&d_slot_out, &d_slot_in, &d_rows_in, &d_slot_weight, &d_gate_weight,
                      &d_router, &d_norm2, &d_middle, &dq, &d_kv, &d_q_latent, &d_kv_latent,
                      &d_norm_weights, &mlp.d_gate_up, &routed.d_gate_up}) {
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

struct HeadActivations {
  std::vector<std::int32_t> rows;     // tokens that have a loss, or each sequence's last one
  std::vector<std::int32_t> targets;  // of those rows
  Buffer picked, norm, rstd;          // [rows, hidden], [rows, hidden], [rows]
  Buffer logits;                      // [rows, vocab]; their gradient in Train
  Buffer d_norm_weight;               // [hidden]
  Buffer d_input;                     // [T, hidden]: the output gradient that the head makes
};

struct Activations {
  Buffer input;            // [T, hidden]
  Buffer output_gradient;  // [T, hidden]
  std::vector<LayerActivations> layers;
  HeadActivations head;
  std::vector<std::int32_t> cache_rows;  // Decode: of each token

  template <class Run>
  void each(const Run& run) {
    run(input);
    run(output_gradient);
    for (LayerActivations& layer : layers) layer.each(run);
    for (Buffer* b :
         {&head.picked, &head.norm, &head.rstd, &head.logits, &head.d_norm_weight, &head.d_input}) {
      run(*b);
    }
  }
};

}  // namespace weft::trainer

// What one micro-batch leaves behind on its way through a stage, until its weight gradients are
// done. Buffers only grow, and a pool hands whole sets from micro-batch to micro-batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "comm/expert_exchange.h"
#include "trainer/batch.h"
#include "trainer/kernels/aligned.h"
#include "trainer/real.h"

namespace weft::trainer {

/// Numbers that are asked for with the size needed now; contents survive only while not grown.
class Buffer {
 public:
  Real* get(std::size_t n) {
    if (data_.size() < n) data_ = AlignedVector(n);
    return data_.data();
  }
  Real* data() { return data_.data(); }
  const Real* data() const { return data_.data(); }

 private:
  AlignedVector data_;
};

/// A SwiGLU feed-forward's intermediate values and their gradients.
struct MlpActivations {
  Buffer gate_up, act;  // [rows, 2 * width], [rows, width]
  Buffer d_gate_up;
};

struct LayerActivations {
  // Forward. T tokens.
  Buffer norm1, rstd1;                 // [T, hidden], [T]
  Buffer q_latent, q_rstd, q_norm;     // [T, q_lora], [T], [T, q_lora]
  Buffer q;                            // [T, heads * (nope + rope)], rotated
  Buffer kv_latent, kv_rstd, kv_norm;  // [T, kv_lora + rope], [T], [T, kv_lora]
  Buffer k_rope;                       // [T, rope], rotated
  Buffer kv;                           // [T, heads * (nope + value)]
  Buffer attended;                     // [T, heads * value]
  Buffer middle;                       // [T, hidden]: input + attention
  Buffer norm2, rstd2;                 // [T, hidden], [T]
  Buffer output;                       // [T, hidden]
  MlpActivations mlp;                  // dense layers' or shared experts'
  // Routed experts.
  Buffer scores, gate_weight;        // [T, experts], [T, top_k]
  std::vector<std::int32_t> chosen;  // [T, top_k]
  comm::ExpertLayout layout;
  const Real* rows_in = nullptr;  // what dispatch brought; valid until combine begins
  Buffer slot_in;                 // [num_slots, hidden]
  MlpActivations routed;          // by slot
  Buffer slot_out;                // [num_slots, hidden], before the gate weight
  Buffer rows_out;                // [num_rows, hidden]
  // Backward; kept from the input pass for the weight pass.
  const Real* d_rows_out = nullptr;     // what combine's backward brought
  Buffer d_slot_out;                    // [num_slots, hidden]
  Buffer d_slot_in, d_rows_in;          // [num_slots, hidden], [num_rows, hidden]
  Buffer d_slot_weight, d_gate_weight;  // [num_slots], [T, top_k]
  Buffer d_router;                      // [T, experts]
  Buffer d_norm2;                       // [T, hidden]
  Buffer d_middle;                      // [T, hidden]
  Buffer dq, d_kv;                      // as q, kv
  Buffer d_q_latent, d_kv_latent;       // as q_latent, kv_latent
  Buffer d_input;                       // [T, hidden]
  Buffer d_norm_weights;                // [2 * hidden + q_lora + kv_lora]
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
};

}  // namespace weft::trainer

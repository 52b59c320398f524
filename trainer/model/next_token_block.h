// Multi-token prediction: one module of depth k = 1..D, which predicts token i+k+1 at token i.
//
//   h(k-1)_i   what the head of the depth before reads: after model.norm (k = 1) or its
//              shared_head.norm
//   x_i        eh_proj [ enorm(embedding of token i+k) ; hnorm(h(k-1)_i) ]
//   y          one transformer block over x, causal inside each sequence
//   loss       cross entropy of lm_head(shared_head.norm(y_i)) on token i+k+1
//
// Embedding and head are the model's own, values and gradients. The module's rows are those tokens
// of the depth before that have a token after them in their sequence: a sequence loses its last row
// at each depth, and nothing is computed only to be masked. Its micro-batch is therefore an
// ordinary one (tokens, targets and weights moved up by one), its block an ordinary stage of one
// layer with a head, and this file only what stands before the block.
//
// Sources: DeepSeek-V3 report, section 2.2. Its tensors (model.layers.61.eh_proj, 7168 x 14336) are
// read with the embedding's half first by vLLM, SGLang and Megatron-style readers alike, and with
// the hidden state taken after the final norm; we keep to both, so that weights can be exchanged.
#pragma once

#include <vector>

#include "trainer/model/stage_base.h"

namespace weft::trainer {

/// Threads: the stage's.
class NextToken {
 public:
  /// Its parameters are added to previous.set.
  NextToken(StageBase& previous, comm::Communicator& experts,
            const comm::ExchangeOptions& exchange);

  /// The stage's own, of which the module's are made.
  void set_micro_batches(std::span<const MicroBatch> batches);

  void forward(int slot);  // fills the block's input
  void backward_input(int slot);
  void backward_weights(int slot);
  /// Adds the gradient that backward_input has left to that of the previous depth's output.
  void add_gradient(int slot, Real* d_output);
  void release(int slot);
  std::size_t bytes(int slot) const;

  StageBase& previous;
  StageModel block;

 private:
  struct Rows {
    std::vector<std::int32_t> from;        // which row of the depth before each row continues
    Buffer<Real> joined;                   // [rows, 2 * hidden]: the two norms side by side
    Buffer<Real> d_embedding, d_previous;  // [rows, hidden]
    Buffer<Real> d_norms;                  // [3 * hidden]: enorm, hnorm, the previous depth's norm
  };
  /// What the norms read, in scratch memory: [rows, hidden] each, and a number per row for each.
  struct Operands {
    const Real *embedding, *output, *hidden;  // hidden = norm(output)
    const Real *rstd_embedding, *rstd_output, *rstd_hidden;
  };
  Operands join(int slot);
  template <class T>
  T* take(Buffer<T>& buffer, std::size_t n) {
    return buffer.get(previous.arena, n);
  }
  Rows& rows(int slot) { return slots_[static_cast<std::size_t>(slot)]; }
  int num_rows(int slot) { return static_cast<int>(rows(slot).from.size()); }

  std::vector<MicroBatch> batches_;
  std::vector<Rows> slots_;
};

}  // namespace weft::trainer

// The inside of a stage for one type of activations, shared by the files that implement its phases:
// stage_slots.cpp (slots and edges), attention_block.cpp, gqa_block.cpp, expert_block.cpp,
// exchange_block.cpp, head_block.cpp, and recompute.cpp (what is kept how long). Each file
// instantiates at its end what others call.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "trainer/kernels/vector_math.h"
#include "trainer/model/activations.h"
#include "trainer/model/stage_base.h"

namespace weft::trainer {

/// Scratch slots of layers (kernels use 0..7, Linear its own).
enum Scratch {
  kRouterLogits = 8,
  kDNorm = 9,
  kDAct = 10,
  kDAttended = 11,
  kDKRope = 12,
  kDLatent = 13,
  kRows = 14,
  kTokenRows = 15,  // 15..21: next_token_block.cpp
  kKept = 22        // fp8_kept.cpp, and the next
};

/// Rows as `pack` left them: scales first, then codes.
kernels::Fp8Rows packed_rows(const Buffer<std::uint8_t>& packed, int rows, int columns);

/// Act: Real or Bf16 (activations.h).
template <class Act>
class StageImpl final : public StageBase {
 public:
  using StageBase::StageBase;

  // stage_slots.cpp
  void resize_slots(std::size_t n) override;
  void release(int slot) override;
  std::size_t activation_bytes(int slot) const override;
  Real* input(int slot) override;
  Real* output_gradient(int slot) override;
  const Real* layer_input(int slot, int layer) override;
  const Real* layer_output_gradient(int slot, int layer) override;
  Real* head_gradient(int slot) override { return live(slot).head.d_input.data(); }
  Activations<Act>& live(int slot);
  struct Layer {
    LayerActivations<Act>& a;
    LayerWeights& w;
  };
  Layer at(int slot, int layer) {
    const auto index = static_cast<std::size_t>(layer);
    return {live(slot).layers[index], weights.layers[index]};
  }
  template <class T>
  T* take(Buffer<T>& buffer, std::size_t n) {
    return buffer.get(arena, n);
  }
  template <class... Buffers>
  void drop(Buffers&... buffers) {
    (buffers.drop(arena), ...);
  }

  // attention_block.cpp
  void down_project(int slot, int layer);
  void up_project(int slot, int layer);
  const std::vector<std::int32_t>& cache_rows(int slot);
  void attend_cached(int slot, int layer);
  void route(int slot, int layer, bool again);
  void attention(int slot, int layer, bool again) override;
  void gate_backward(int slot, int layer);
  void attention_backward_input(int slot, int layer) override;
  void latent_backward_input(int slot, int layer, const Act* d_attended, Real* d_gains,
                             Real* d_norm1);
  void attention_backward_weights(int slot, int layer) override;
  void latent_backward_weights(int slot, int layer, const Real* d_gains);

  // gqa_block.cpp
  void project_heads(int slot, int layer);
  void spread_heads(int slot, int layer);
  void attend_heads_cached(int slot, int layer);
  std::pair<Real*, Real*> gather_heads(const Act* d_kv, int rows);
  void heads_backward_input(int slot, int layer, const Act* d_attended, Real* d_gains,
                            Real* d_norm1);
  void heads_backward_weights(int slot, int layer, const Real* d_gains);

  // expert_block.cpp
  void gather_slots(LayerActivations<Act>& a);
  template <class T>
  void scatter_slots(const comm::ExpertLayout& layout, const T* from, bool weighted,
                     Real* to) const;
  void weigh_slots(LayerActivations<Act>& a);
  void slot_gradients(LayerActivations<Act>& a);
  void run_routed(int slot, int layer);
  void run_experts(int slot, int layer) override;
  void run_experts_again(int slot, int layer) override;
  void experts_backward_input(int slot, int layer) override;
  void experts_backward_weights(int slot, int layer) override;

  // exchange_block.cpp
  comm::ExpertLayout& take_layout(LayerActivations<Act>& a);
  void give_layout(LayerActivations<Act>& a);
  void charge_rows(LayerActivations<Act>& a);
  std::size_t exchanged_bytes(int slot, int layer) override;
  Expected<void> begin_dispatch(int slot, int layer, bool again) override;
  Expected<void> end_dispatch(int slot, int layer) override;
  Expected<void> begin_combine(int slot, int layer) override;
  Expected<void> end_combine(int slot, int layer) override;
  Expected<void> begin_combine_backward(int slot, int layer) override;
  Expected<void> end_combine_backward(int slot, int layer) override;
  Expected<void> begin_dispatch_backward(int slot, int layer) override;
  Expected<void> end_dispatch_backward(int slot, int layer) override;

  // recompute.cpp
  template <class X>
  const Act* normed(Buffer<Act>& kept, Buffer<Real>& rstd, const X* x, int ldx, const Vector1& gain,
                    int rows);
  const Act* norm1(int slot, int layer);
  const Act* norm2(int slot, int layer);
  const Act* q_norm(int slot, int layer);
  const Act* kv_norm(int slot, int layer);
  const Act* head_norm(HeadActivations<Act>& h);
  void drop_forward(LayerActivations<Act>& a);
  void drop_up(LayerActivations<Act>& a);
  void after_attention(int slot, int layer);
  void after_experts(int slot, int layer);
  void after_attention_backward_input(int slot, int layer);
  void after_attention_backward_weights(int slot, int layer);

  // fp8_kept.cpp
  void pack(Buffer<Act>& values, Buffer<std::uint8_t>& packed, int rows, int columns,
            kernels::Fp8Scale scale);
  void pack_attention(int slot, int layer);
  void pack_experts(int slot, int layer);
  const Act* attended_for_weights(int slot, int layer);
  const Act* gate_up_for_backward(MlpActivations<Act>& m, int rows, int width);
  const Act* act_for_weights(MlpActivations<Act>& m, int rows, int width);
  template <class D, class Make>
  void add_gradient(Matrix& matrix, const D* dy, int rows, const Buffer<std::uint8_t>& packed,
                    const Make& make) {
    if (packed.held()) {
      linear.backward_weight(context, matrix, dy, packed_rows(packed, rows, matrix.in));
    } else {
      linear.backward_weight(context, matrix, dy, make(), rows);
    }
  }

  // head_block.cpp
  void head(int slot) override;
  void pick_rows(const MicroBatch& batch, HeadActivations<Act>& h);
  void losses(int slot, HeadActivations<Act>& h);
  void head_backward_input(int slot) override;
  void head_backward_weights(int slot) override;

 private:
  std::vector<std::unique_ptr<Activations<Act>>> slots_;  // null: not live
  std::vector<std::unique_ptr<Activations<Act>>> pool_;
};

}  // namespace weft::trainer

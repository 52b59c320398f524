// The inside of StageModel, shared by the files that implement its phases: stage_model.cpp (slots
// and edges), attention_block.cpp, expert_block.cpp, exchange_block.cpp, head_block.cpp, and
// recompute.cpp (what is kept how long).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "trainer/kernels/attention.h"
#include "trainer/kernels/matmul.h"
#include "trainer/kernels/mla_decode.h"
#include "trainer/kernels/rope.h"
#include "trainer/kernels/router.h"
#include "trainer/model/activations.h"
#include "trainer/model/weights.h"

namespace weft::trainer {

/// Scratch slots of layers (kernels use 0..7).
enum Scratch {
  kRouterLogits = 8,
  kDNorm = 9,
  kDAct = 10,
  kDAttended = 11,
  kDKRope = 12,
  kDLatent = 13,
  kTokenRows = 14,  // 14..20: next_token_block.cpp
};

struct StageModel::Impl {
  /// `previous`: the depth that a multi-token prediction module continues; null for a stage.
  Impl(const ModelConfig& config, const StageSpec& spec, comm::Communicator& experts,
       kernels::Context& context, int max_tokens, Recompute recompute,
       const comm::ExchangeOptions& exchange_options, Impl* first_stage, Impl* previous);
  ~Impl();

  // stage_model.cpp
  Activations& live(int slot);
  struct Layer {
    LayerActivations& a;
    LayerWeights& w;
  };
  Layer at(int slot, int layer) {
    const auto index = static_cast<std::size_t>(layer);
    return {live(slot).layers[index], weights.layers[index]};
  }
  Real* take(Buffer& buffer, std::size_t n) { return buffer.get(arena, n); }
  template <class... Buffers>
  void drop(Buffers&... buffers) {
    (buffers.drop(arena), ...);
  }
  const Real* layer_input(int slot, int layer);
  const Real* layer_output_gradient(int slot, int layer);
  comm::Tag tag(int slot, int layer, int exchange) const;
  kernels::Weight weight(Matrix& matrix) const {
    return {set.values_data() + matrix.offset, matrix.out, matrix.in, set.version(),
            &matrix.packed};
  }
  const Real* value(const Vector1& vector) const { return set.values_data() + vector.offset; }
  Real* gradient(std::int64_t offset) { return set.gradients().data() + offset; }
  void add_weight_gradient(const Matrix& matrix, const Real* dy, const Real* x, int rows);
  void add_vector_gradient(const Vector1& vector, const Real* d);

  // attention_block.cpp
  void down_project(int slot, int layer);
  void up_project(int slot, int layer);
  void attend_cached(int slot, int layer);
  void route(int slot, int layer, bool again);
  void attention(int slot, int layer, bool again);
  void gate_backward(int slot, int layer);
  void attention_backward_input(int slot, int layer);
  void attention_backward_weights(int slot, int layer);

  // expert_block.cpp
  void gather_slots(LayerActivations& a);
  void scatter_slots(const comm::ExpertLayout& layout, const Real* from, bool weighted,
                     Real* to) const;
  void slot_gradients(LayerActivations& a);
  void run_routed(LayerActivations& a, LayerWeights& w);
  void run_experts(int slot, int layer);
  void run_experts_again(int slot, int layer);
  void experts_backward_input(int slot, int layer);
  void experts_backward_weights(int slot, int layer);

  // exchange_block.cpp
  comm::ExpertLayout& take_layout(LayerActivations& a);
  void give_layout(LayerActivations& a);
  void charge_rows(LayerActivations& a);
  Expected<void> begin_dispatch(int slot, int layer, bool again);

  // recompute.cpp
  const Real* normed(Buffer& kept, Buffer& rstd, const Real* x, int ldx, const Vector1& gain,
                     int rows);
  const Real* norm1(int slot, int layer);
  const Real* norm2(int slot, int layer);
  const Real* q_norm(int slot, int layer);
  const Real* kv_norm(int slot, int layer);
  bool trains(int slot) const;
  bool keeps_block(int slot) const;
  void drop_forward(LayerActivations& a);
  void drop_up(LayerActivations& a);
  void after_attention(int slot, int layer);
  void after_experts(int slot, int layer);
  void after_attention_backward_input(int slot, int layer);
  void after_attention_backward_weights(int slot, int layer);

  // head_block.cpp
  const Real* head_norm(HeadActivations& h);
  void head(int slot);
  void pick_rows(const MicroBatch& batch, HeadActivations& h);
  void losses(int slot, HeadActivations& h);
  void head_backward_input(int slot);
  void head_backward_weights(int slot);

  // next_token_block.cpp
  struct NextToken;
  struct Table {
    ParameterSet& set;
    std::int64_t offset;
  };
  Table embedding_table();
  Matrix& head_matrix() { return previous != nullptr ? previous->head_matrix() : weights.head; }

  ModelConfig config;
  StageSpec spec;
  kernels::Context& context;
  int max_tokens;
  Recompute recompute;
  Impl* first_stage;
  Impl* previous;
  NextToken* module = nullptr;      // that this is the block of
  std::unique_ptr<NextToken> next;  // the next depth
  ParameterSet own_set;             // empty for a module: its parameters are the stage's
  ParameterSet& set;
  StageWeights weights;
  kernels::RopeTable rope;
  kernels::AttentionShape attention_shape;
  kernels::RouterShape router_shape;
  std::optional<comm::ExpertExchange<Real>> exchange;  // only where a MoE layer is

  Arena own_arena;  // as own_set
  Arena& arena;
  std::vector<std::unique_ptr<comm::ExpertLayout>> layouts;  // of no layer at present
  std::size_t num_layouts = 0;                               // in all
  std::span<const MicroBatch> batches;
  std::vector<std::unique_ptr<Activations>> slots;  // null: not live
  std::vector<std::unique_ptr<Activations>> pool;
  std::vector<HeadOutput> head_outputs;
  std::vector<double> loss_sums;
  std::vector<std::vector<Real>> logits;                  // Decode, by slot
  std::vector<std::vector<kernels::LatentCache>> caches;  // by slot and layer; empty: not open
  std::vector<std::vector<double>> expert_load;           // by layer; empty for dense ones
};

}  // namespace weft::trainer

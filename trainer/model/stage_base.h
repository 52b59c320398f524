// What a StageModel holds and does whatever numbers it computes in. StageImpl (stage_impl.h) is the
// rest, for one type of activations.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "trainer/kernels/attention.h"
#include "trainer/kernels/gqa_decode.h"
#include "trainer/kernels/mla_decode.h"
#include "trainer/kernels/rope.h"
#include "trainer/kernels/router.h"
#include "trainer/model/arena.h"
#include "trainer/model/expert_replicas.h"
#include "trainer/model/linear.h"
#include "trainer/model/stage_model.h"
#include "trainer/model/weights.h"

namespace weft::trainer {

class NextToken;

/// Where a stage stands to multi-token prediction (next_token_block.h).
struct NextTokenPlace {
  StageBase* first_stage = nullptr;  // with the embedding, where it is another one of this rank
  StageBase* previous = nullptr;     // a module's block: the depth that it continues
};

class StageBase {
 public:
  StageBase(const ModelConfig& config, const StageSpec& spec, comm::Communicator& experts,
            kernels::Context& context, int max_tokens, Recompute recompute,
            const comm::ExchangeOptions& exchange_options, Precision precision,
            const Fp8Options& fp8, const NextTokenPlace& place);
  virtual ~StageBase();
  StageBase(const StageBase&) = delete;
  StageBase& operator=(const StageBase&) = delete;

  // What StageModel promises under the same or nearly the same names.
  virtual void resize_slots(std::size_t n) = 0;
  virtual void release(int slot) = 0;
  virtual std::size_t activation_bytes(int slot) const = 0;
  virtual std::size_t exchanged_bytes(int slot, int layer) = 0;
  virtual Real* input(int slot) = 0;
  virtual Real* output_gradient(int slot) = 0;
  /// The residual stream before block `layer`, and its gradient behind it. num_layers, -1: the
  /// stage's edges.
  virtual const Real* layer_input(int slot, int layer) = 0;
  virtual const Real* layer_output_gradient(int slot, int layer) = 0;
  /// [tokens, hidden]: what head_backward_input has made.
  virtual Real* head_gradient(int slot) = 0;

  /// `again`: in the backward of a block that kept only its input and its choices.
  virtual void attention(int slot, int layer, bool again) = 0;
  virtual Expected<void> begin_dispatch(int slot, int layer, bool again) = 0;
  virtual Expected<void> end_dispatch(int slot, int layer) = 0;
  virtual void run_experts(int slot, int layer) = 0;
  virtual void run_experts_again(int slot, int layer) = 0;
  virtual Expected<void> begin_combine(int slot, int layer) = 0;
  virtual Expected<void> end_combine(int slot, int layer) = 0;
  virtual void head(int slot) = 0;

  virtual void head_backward_input(int slot) = 0;
  virtual void head_backward_weights(int slot) = 0;
  virtual Expected<void> begin_combine_backward(int slot, int layer) = 0;
  virtual Expected<void> end_combine_backward(int slot, int layer) = 0;
  virtual void experts_backward_input(int slot, int layer) = 0;
  virtual void experts_backward_weights(int slot, int layer) = 0;
  virtual Expected<void> begin_dispatch_backward(int slot, int layer) = 0;
  virtual Expected<void> end_dispatch_backward(int slot, int layer) = 0;
  virtual void attention_backward_input(int slot, int layer) = 0;
  virtual void attention_backward_weights(int slot, int layer) = 0;

  // next_token_block.cpp
  struct Table {
    ParameterSet& set;
    std::int64_t offset;
  };
  Table embedding_table();
  Matrix& head_matrix() {
    return place.previous != nullptr ? place.previous->head_matrix() : weights.head;
  }

  comm::Tag tag(int slot, int layer, int exchange) const;
  const Real* value(const Vector1& vector) const { return set.values_data() + vector.offset; }
  const Real* selection_bias(const LayerWeights& w) const {
    return config.selection_bias ? value(w.selection_bias) : nullptr;
  }
  Real* gradient(std::int64_t offset) { return set.gradients().data() + offset; }
  void add_vector_gradient(const Vector1& vector, const Real* d);
  bool trains(int slot) const {
    return batches[static_cast<std::size_t>(slot)].mode == Mode::Train;
  }
  /// Of one sequence's balance loss; 0: there is none.
  double balance_weight(const MicroBatch& batch) const {
    if (balance_sequences == 0 || batch.loss != LossKind::CrossEntropy) return 0;
    return config.aux_loss_alpha / balance_sequences;
  }
  /// What a Decode pass of this layer picks replicas with; null: nothing.
  comm::ReplicaPicker* picker(int slot, int layer) {
    if (replicas == nullptr || batches[static_cast<std::size_t>(slot)].mode != Mode::Decode)
      return nullptr;
    auto& own = replicas->layers[static_cast<std::size_t>(layer)].picker;
    return own ? &*own : nullptr;
  }
  /// Does the block's backward find what its forward computed?
  bool keeps_block(int slot) const { return trains(slot) && recompute != Recompute::Full; }
  bool is_fp8() const { return linear.precision() == Precision::FP8; }

  ModelConfig config;
  StageSpec spec;
  kernels::Context& context;
  int max_tokens;
  Recompute recompute;
  NextTokenPlace place;
  NextToken* module = nullptr;      // that this is the block of
  std::unique_ptr<NextToken> next;  // the next depth
  ParameterSet own_set;             // empty for a module: its parameters are the stage's
  ParameterSet& set;
  Linear linear;  // every product with a weight
  StageWeights weights;
  kernels::RopeTable rope;
  kernels::AttentionShape attention_shape;
  kernels::RouterShape router_shape;
  std::optional<comm::ExpertExchange<Real>> exchange;  // only where a MoE layer is
  comm::NodeMap nodes;                                 // of the exchange
  std::unique_ptr<ExpertReplicas> replicas;            // null: none are open

  Arena own_arena;  // as own_set
  Arena& arena;
  std::vector<std::unique_ptr<comm::ExpertLayout>> layouts;  // of no layer at present
  std::size_t num_layouts = 0;                               // in all
  std::span<const MicroBatch> batches;
  std::vector<HeadOutput> head_outputs;
  std::vector<double> loss_sums;
  std::vector<std::vector<Real>> logits;                     // Decode, by slot
  std::vector<std::vector<kernels::LatentCache>> caches;     // by slot and layer; empty: not open
  std::vector<std::vector<kernels::HeadCache>> head_caches;  // the same, grouped-query
  std::vector<std::vector<double>> expert_load;              // by layer; empty for dense ones
  std::vector<DecodeLoad> decode_load;                       // the same
  int balance_sequences = 0;  // of the global batch; 0: no balance loss
  double balance_sum = 0;     // of this pass, weighted
};

/// The stage for a precision, which check_precision has allowed.
std::unique_ptr<StageBase> make_stage(const ModelConfig& config, const StageSpec& spec,
                                      comm::Communicator& experts, kernels::Context& context,
                                      int max_tokens, Recompute recompute,
                                      const comm::ExchangeOptions& exchange_options,
                                      Precision precision, const Fp8Options& fp8,
                                      const NextTokenPlace& place);

}  // namespace weft::trainer

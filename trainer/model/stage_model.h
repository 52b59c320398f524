// One pipeline stage of a DeepSeek-V3-shaped model with explicit forward, backward-for-input and
// backward-for-weights, cut into the phases that a schedule can interleave. No autograd, no
// schedule: the caller decides the order.
//
// A *slot* is one micro-batch in flight. Its activations come from an arena that grows to the
// largest moment and is then reused, so that a steady step allocates nothing.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "comm/exchange/expert_exchange.h"
#include "trainer/batch.h"
#include "trainer/kernels/context.h"
#include "trainer/model/config.h"
#include "trainer/model/fp8_recipe.h"
#include "trainer/model/parameters.h"
#include "trainer/model/precision.h"

namespace weft::trainer {

/// What a block's backward computes again instead of finding it kept; no number depends on it.
/// recompute.cpp says what lives how long. Source: DeepSeek-V3 report, section 3.2.3.
enum class Recompute {
  None,
  MlaUp,  // norms and the up-projections of multi-head latent attention
  Full    // everything but the block's input and the chosen experts
};
std::string_view to_string(Recompute recompute);  // none, mla_up, full
/// Errors: InvalidArgument naming the three.
Expected<Recompute> parse_recompute(std::string_view text);

/// Activations of a stage, in bytes; exact, rows that the expert exchange keeps included.
struct ActivationBytes {
  std::size_t live = 0;      // now
  std::size_t peak = 0;      // the most since the start
  std::size_t reserved = 0;  // taken from the system, without those rows
};

/// What a stage holds beside its parameters, in bytes; nothing is counted twice.
struct StageBytes {
  std::size_t activations = 0;      // the most since the start, without what the exchange keeps
  std::size_t exchange = 0;         // rows that it keeps, its messages and lists
  std::size_t packed = 0;           // copies of weights that products read
  std::size_t cache = 0;            // of keys and values; while it is open
  std::size_t replicas = 0;         // weights of experts at home elsewhere; while they are open
  std::size_t packed_replicas = 0;  // copies of those that products read
};

struct StageSpec {
  int first_layer = 0;
  int num_layers = 0;
  bool embedding = false;  // first stage
  bool head = false;       // last stage: final norm, output head, loss
  int next_token = 0;      // with the head: multi-token prediction modules behind it
};

class StageBase;
struct DecodeLoad;  // expert_replicas.h

/// Threads: one at a time. References passed in must outlive the model.
class StageModel {
 public:
  /// `experts`: the group that together holds all experts (its size divides n_routed_experts;
  /// a group of one for an unsharded model). max_tokens bounds any micro-batch.
  /// `exchange`: how rows travel to the experts; equal on every rank of the group.
  /// `precision`: one that check_precision allows; equal on every rank of a run, as is `fp8`.
  /// `first_stage`: where this rank also holds the stage with the embedding; multi-token prediction
  /// then reads it there and adds to its gradient. Else such a stage holds a copy of its own.
  StageModel(const ModelConfig& config, const StageSpec& spec, comm::Communicator& experts,
             kernels::Context& context, int max_tokens, Recompute recompute = Recompute::None,
             const comm::ExchangeOptions& exchange = {}, Precision precision = Precision::F32,
             const Fp8Options& fp8 = {}, StageModel* first_stage = nullptr);
  ~StageModel();
  Recompute recompute() const;
  Precision precision() const;

  const ModelConfig& config() const;
  const StageSpec& spec() const;
  ParameterSet& parameters();
  const ParameterSet& parameters() const;

  /// Initial values, each element a function of (seed, parameter name, index): the same whatever
  /// the layout. Normal with initializer_range (every matrix alike, the
  /// output head and output projections included: DeepSeek-V3 report 4.2); norms one; biases zero.
  void initialize(std::uint64_t seed);

  /// The micro-batches of the coming pass; slot i is batches[i]. They must outlive the pass.
  void set_micro_batches(std::span<const MicroBatch> batches);
  const MicroBatch& micro_batch(int slot) const;

  /// The next depth of multi-token prediction, seen as a stage of one block and a head: its phases
  /// are run like any other's, after this stage's head (backward: before it), where
  /// micro_batch().trains_next_tokens(). Its micro-batches are made of this stage's, its parameters
  /// are part of this stage's. Null: there is none. next_token_block.h says what it computes.
  StageModel* next_token();
  const StageModel* next_token() const;

  /// The residual stream [num_tokens, hidden] at the stage's edges. Forward in: where to put what
  /// the previous stage sent. Out: valid until the slot's backward (Train) or release.
  std::span<Real> input(int slot);
  std::span<const Real> output(int slot);
  /// Gradients of the same: where to put the next stage's, and what to send to the previous one.
  std::span<Real> output_gradient(int slot);
  std::span<const Real> input_gradient(int slot);

  // Forward, in this order. `layer` counts from 0 inside the stage.
  void embed(int slot);                 // spec.embedding and modules only; fills input(slot)
  void attention(int slot, int layer);  // norm, MLA, residual; then norm and, in MoE layers, gate
  Expected<void> begin_dispatch(int slot, int layer);  // MoE layers only
  Expected<void> end_dispatch(int slot, int layer);
  void experts(int slot, int layer);  // shared and local routed experts; dense layers: the MLP
  Expected<void> begin_combine(int slot, int layer);  // MoE layers only
  Expected<void> end_combine(int slot, int layer);
  void head(int slot);  // spec.head only; fills head_output or logits

  // Recompute::Full: a block's forward once more, at any time before its own backward phases. The
  // chosen experts are those of the first time, so every number is.
  void attention_again(int slot, int layer);
  Expected<void> begin_dispatch_again(int slot, int layer);  // MoE layers only
  Expected<void> end_dispatch_again(int slot, int layer);
  void experts_again(int slot, int layer);  // may come after begin_combine_backward

  // Backward, layers in descending order.
  void head_backward_input(int slot);
  void head_backward_weights(int slot);
  Expected<void> begin_combine_backward(int slot, int layer);
  Expected<void> end_combine_backward(int slot, int layer);
  void experts_backward_input(int slot, int layer);
  void experts_backward_weights(int slot, int layer);
  Expected<void> begin_dispatch_backward(int slot, int layer);
  Expected<void> end_dispatch_backward(int slot, int layer);
  void attention_backward_input(int slot, int layer);
  void attention_backward_weights(int slot, int layer);
  void embed_backward_input(int slot);  // modules only
  void embed_backward(int slot);        // weights; spec.embedding and modules only

  /// What an exchange of this micro-batch moves through this rank: the rows that are here between
  /// dispatch and combine, its own tokens' included.
  std::size_t exchanged_bytes(int slot, int layer) const;

  /// Gives the slot's activations back to the pool: after the last weight gradient, or after a
  /// Score or Decode pass.
  void release(int slot);

  ActivationBytes activation_bytes() const;
  /// What one slot holds now.
  std::size_t activation_bytes(int slot) const;
  /// Everything else, too. Call it between passes.
  StageBytes held_bytes() const;

  /// Score and Train on the head's stage: lives until the next set_micro_batches.
  const HeadOutput& head_output(int slot) const;
  /// Sum of head_output(slot).loss, not rounded to float on the way.
  double loss_sum(int slot) const;
  /// Decode on the head's stage: logits [num_sequences, vocab] of each sequence's last token; lives
  /// until the slot's next head().
  std::span<const Real> logits(int slot) const;

  /// KV caches of compressed latents for Decode micro-batches, one set a slot: `rows` sequences of
  /// at most `max_length` tokens. Opening again replaces. new tokens are written at their
  /// positions, earlier positions must have been written before.
  void open_cache(int slot, int rows, int max_length);
  void close_caches();

  /// Tokens routed to each expert (global ids) of a MoE layer since the last clear;
  /// [n_routed_experts]. Only this rank's own tokens are counted: sum over ranks for the whole
  /// batch. Train mode only.
  std::span<double> expert_load(int layer);
  void clear_expert_load();

  /// Room for `seats` replicas of experts a MoE layer, empty at first, and for exchanges of Decode
  /// passes that use them: no number depends on it. Opening again empties; closing frees. The same
  /// on every rank of the group, between passes.
  void open_replicas(int seats);
  void close_replicas();
  int replica_seats() const;  // 0: none are open
  /// Who has which from now on, in the exchange's group, where this rank is `rank`. The weights of
  /// this rank's replicas must be copied (expert_values) before the next pass.
  void place_replicas(int layer, const comm::ExpertPlacement& placement, int rank);
  /// The weights of one of this rank's seats of a MoE layer: first its own experts, then replicas.
  std::span<Real> expert_values(int layer, int seat);

  /// What Decode passes counted of a MoE layer since the last clear.
  const DecodeLoad& decode_load(int layer) const;
  void clear_decode_load();

  /// Before the forwards of a step: how many sequences the global batch has. The loss then includes
  /// aux_loss_alpha times the mean over them of the sequence-wise balance loss, summed over MoE
  /// layers; micro-batches with a Grpo loss are left out. 0 (the start): no balance loss.
  /// Source: DeepSeek-V3 report, section 2.1.2; kernels/balance_loss.h.
  void begin_balance(int sequences);
  /// This rank's part of it since then: sum over ranks for the whole batch's.
  double balance_loss() const;
  /// bias_e += rate where expert e had less than the mean load, -= rate where more.
  /// load: the whole batch's. Source: DeepSeek-V3 report, section 2.1.2.
  void update_selection_bias(int layer, std::span<const double> load, double rate);

 private:
  friend class NextToken;
  explicit StageModel(std::unique_ptr<StageBase> impl);
  std::unique_ptr<StageBase> impl_;
};

}  // namespace weft::trainer

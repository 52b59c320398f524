// The two expert all-to-alls, dispatch and combine, and their mirrored backward passes, for one
// group of ranks that together hold all experts of a stage. A token travels to a rank once, however
// many of that rank's experts it chose, and over several nodes it crosses to each node once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "comm/exchange/exchange_options.h"
#include "comm/exchange/exchange_traffic.h"
#include "comm/exchange/expert_placement.h"

namespace weft::comm {

/// Where one micro-batch's tokens go and come from; made by `dispatch`, reused by `combine` and by
/// both backward exchanges. Buffers inside are reused from step to step.
///
/// A *row* is a token that arrived here; a *slot* is one (row, local expert) pair with its gate
/// weight. Rows are ordered by (source rank, token); slots by (local expert, row), so that the rows
/// of one expert are slots [expert_begin[e], expert_begin[e+1]).
struct ExpertLayout {
  int num_tokens = 0;  // of this rank's own micro-batch
  int num_rows = 0;    // arrived here, own tokens included
  int num_slots = 0;
  std::vector<std::int32_t> expert_begin;  // [num_local_experts + 1]
  std::vector<std::int32_t> slot_row;      // [num_slots] row of each slot
  std::vector<float> slot_weight;          // [num_slots] gate weight of each slot
  std::vector<double> slot_weight_double;  // the same, unrounded; ExpertExchange<double> only
  struct Private;
  std::shared_ptr<Private> priv;  // send-side bookkeeping
};

/// Inputs of every begin_* may change after it returns. One layout has at most one exchange between
/// begin and end; different layouts and ExpertExchange objects may share a group.
/// Errors: those of the group; Corrupt, naming the peer, when what arrived is not what the shape
/// allows; InvalidArgument for too many tokens or a choice that is no expert or made twice.
/// Threads: one at a time. begin_* calls are made in the same order on every rank of the group;
/// each begin is followed by its own end, other exchanges may lie between, ends come in any order.
/// With two hops the second one is written in whichever call of the group comes after the first
/// hop's arrival, and the group carries nothing else between begin and end (comm/README.md).
template <class Real>
class ExpertExchange {
 public:
  /// Expert e lives on rank e / (num_experts / group.size()).
  /// num_experts must be divisible by group.size(); max_tokens bounds a micro-batch of any rank.
  /// options: equal on every rank; its node map, unless empty, is of this group.
  ExpertExchange(Communicator& group, int num_experts, int top_k, int hidden, int max_tokens,
                 const ExchangeOptions& options = {});
  ~ExpertExchange();

  int num_local_experts() const;
  int first_local_expert() const;
  /// Room for replicas on every rank, `seats_per_rank` behind the experts at home there: forward
  /// exchanges may then be told which seat a choice takes (begin_dispatch). They go in one hop.
  /// Opening again replaces; closing frees. The same on every rank, between exchanges.
  void open_replicas(int seats_per_rank);
  void close_replicas();
  /// Was the layout's dispatch told so?
  static bool replicas(const ExpertLayout& layout);

  /// Bytes that this rank has sent so far without replicas, by exchange and link; equals
  /// exchange_traffic(...).
  const ExchangeTraffic& traffic() const;

  /// What this exchange has taken for messages under way, those of replicas included; they are kept
  /// from step to step. Call it between exchanges.
  std::size_t memory_bytes() const;
  /// The same of a layout: rows and gradients that came, and where they go.
  static std::size_t memory_bytes(const ExpertLayout& layout);

  /// Sends each token's row [num_tokens, hidden] to the ranks of its chosen experts.
  /// experts, weights: [num_tokens, top_k], experts of one token all different.
  /// `replicas`, unless null: picks their seats, in a placement with the seats that are open. The
  /// layout's local experts are then all seats of this rank; combine takes a row a slot (weighted,
  /// not summed) and gives the same bits as without replicas; there is no backward pass.
  Expected<void> begin_dispatch(ExpertLayout& layout, Tag tag, int num_tokens, const Real* rows,
                                const std::int32_t* experts, const Real* weights,
                                ReplicaPicker* replicas = nullptr);
  /// Fills the layout; returned rows [num_rows, hidden] live until the layout's next end_dispatch.
  Expected<const Real*> end_dispatch(ExpertLayout& layout);

  /// Sends rows [num_rows, hidden] (with replicas [num_slots, hidden]) back: out[token] += sum of
  /// its parts, added by ascending rank inside each node of the node map, then over the nodes. out:
  /// [num_tokens, hidden].
  Expected<void> begin_combine(ExpertLayout& layout, Tag tag, const Real* rows);
  Expected<void> end_combine(ExpertLayout& layout, Real* out);

  /// Backward of combine: each token's gradient row goes where the token went.
  Expected<void> begin_combine_backward(ExpertLayout& layout, Tag tag, const Real* gradients);
  /// Rows [num_rows, hidden]; live until the layout's next end_combine_backward.
  Expected<const Real*> end_combine_backward(ExpertLayout& layout);

  /// Backward of dispatch: rows [num_rows, hidden] and the gradients of the gate weights
  /// [num_slots] go home. d_rows [num_tokens, hidden] is added to in the order of combine;
  /// d_weights [num_tokens, top_k] is overwritten.
  Expected<void> begin_dispatch_backward(ExpertLayout& layout, Tag tag, const Real* rows,
                                         const Real* slot_weight_gradients);
  Expected<void> end_dispatch_backward(ExpertLayout& layout, Real* d_rows, Real* d_weights);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

extern template class ExpertExchange<float>;
extern template class ExpertExchange<double>;

}  // namespace weft::comm

#include "trainer/model/next_token_block.h"

#include <algorithm>

#include "trainer/kernels/embedding.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/model/stage_impl.h"

namespace weft::trainer {

using namespace kernels;

namespace {

enum JoinScratch {
  kEmbedding = kTokenRows,
  kOutput,
  kHidden,
  kRstds,
  kHalf,    // one side of the two
  kJoined,  // their gradient, both sides
  kDHidden
};

/// One side (0 or 1) of rows of two, and back.
void put_side(const Real* half, int rows, int hidden, int side, Real* both) {
  for (int r = 0; r < rows; ++r) {
    std::copy_n(half + elements(r, hidden), hidden, both + elements(2 * r + side, hidden));
  }
}
void take_side(const Real* both, int rows, int hidden, int side, Real* half) {
  for (int r = 0; r < rows; ++r) {
    std::copy_n(both + elements(2 * r + side, hidden), hidden, half + elements(r, hidden));
  }
}

/// What the next depth sees of a micro-batch: every token but each sequence's last stays a row,
/// with the token, the target and the weight of the one after it. `scale`: factor of the weights.
void move_up(const MicroBatch& previous, float scale, MicroBatch& batch,
             std::vector<std::int32_t>& from) {
  from.clear();
  for (auto* list : {&batch.tokens, &batch.positions, &batch.sequence_begin, &batch.sequence_id,
                     &batch.targets}) {
    list->clear();
  }
  batch.weight.clear();
  batch.sequence_begin.push_back(0);
  for (int s = 0; s < previous.num_sequences(); ++s) {
    const auto index = static_cast<std::size_t>(s);
    const std::int32_t end = previous.sequence_begin[index + 1];
    if (end - previous.sequence_begin[index] < 2) continue;
    for (std::int32_t t = previous.sequence_begin[index]; t + 1 < end; ++t) {
      const auto after = static_cast<std::size_t>(t) + 1;
      from.push_back(t);
      batch.tokens.push_back(previous.tokens[after]);
      batch.positions.push_back(previous.positions[after - 1]);
      batch.targets.push_back(previous.targets[after]);
      batch.weight.push_back(scale * previous.weight[after]);
    }
    batch.sequence_begin.push_back(batch.num_tokens());
    batch.sequence_id.push_back(previous.sequence_id[index]);
  }
  batch.mode = previous.mode;
  batch.loss = previous.loss;
  batch.next_token_weight = previous.next_token_weight;
}

}  // namespace

StageBase::Table StageBase::embedding_table() {
  if (place.previous != nullptr) return place.previous->embedding_table();
  if (weights.embedding.offset >= 0) return {set, weights.embedding.offset};
  return place.first_stage->embedding_table();
}

StageModel* StageModel::next_token() {
  return impl_->next != nullptr ? &impl_->next->block : nullptr;
}
const StageModel* StageModel::next_token() const {
  return impl_->next != nullptr ? &impl_->next->block : nullptr;
}

NextToken::NextToken(StageBase& previous_in, comm::Communicator& experts,
                     const comm::ExchangeOptions& exchange)
    : previous(previous_in),
      block(make_stage(previous.config,
                       StageSpec{previous.spec.first_layer + previous.spec.num_layers, 1, false,
                                 true, previous.spec.next_token - 1},
                       experts, previous.context, previous.max_tokens, previous.recompute, exchange,
                       previous.linear.precision(), previous.linear.fp8(), {nullptr, &previous})) {
  block.impl_->module = this;
}

void NextToken::set_micro_batches(std::span<const MicroBatch> batches) {
  const std::size_t n =
      batches.empty() || !batches.front().trains_next_tokens() ? 0 : batches.size();
  if (batches_.size() < n) batches_.resize(n);
  if (slots_.size() < n) slots_.resize(n);
  // The first depth puts the factor in; the deeper ones find it there.
  const bool first = previous.module == nullptr;
  for (std::size_t i = 0; i < n; ++i) {
    const float scale = !first ? 1.0f
                               : batches[i].next_token_weight /
                                     static_cast<float>(previous.config.num_nextn_predict_layers);
    move_up(batches[i], scale, batches_[i], slots_[i].from);
  }
  block.set_micro_batches(std::span<const MicroBatch>(batches_).first(n));
}

/// Norms of embeddings and of hidden states side by side, into `joined`. Made in the forward and
/// once more in the backward: two gathers and three norms cost less than keeping their operands.
NextToken::Operands NextToken::join(int slot) {
  StageBase& own = *block.impl_;
  Context& context = own.context;
  const int n = num_rows(slot), hidden = own.config.hidden_size;
  const std::size_t all = elements(n, hidden);
  const auto epsilon = static_cast<Real>(own.config.rms_norm_eps);
  const StageBase::Table table = own.embedding_table();
  Real* embedding = context.scratch(kEmbedding, all).data();
  Real* output = context.scratch(kOutput, all).data();
  Real* normed = context.scratch(kHidden, all).data();
  Real* half = context.scratch(kHalf, all).data();
  Real* rstds = context.scratch(kRstds, elements(3, n)).data();
  Real* joined = take(rows(slot).joined, 2 * all);

  embedding_forward(context, table.set.values_data() + table.offset,
                    block.micro_batch(slot).tokens.data(), n, hidden, embedding);
  rmsnorm_forward(context, embedding, hidden, own.value(own.weights.enorm), n, hidden, epsilon,
                  half, rstds);
  put_side(half, n, hidden, 0, joined);

  const Real* outputs = previous.layer_input(slot, previous.spec.num_layers);
  for (int r = 0; r < n; ++r) {
    const std::int32_t from = rows(slot).from[static_cast<std::size_t>(r)];
    std::copy_n(outputs + elements(from, hidden), hidden, output + elements(r, hidden));
  }
  rmsnorm_forward(context, output, hidden, own.value(previous.weights.norm), n, hidden, epsilon,
                  normed, rstds + n);
  rmsnorm_forward(context, normed, hidden, own.value(own.weights.hnorm), n, hidden, epsilon, half,
                  rstds + 2 * n);
  put_side(half, n, hidden, 1, joined);
  return {embedding, output, normed, rstds, rstds + n, rstds + 2 * n};
}

void NextToken::forward(int slot) {
  StageBase& own = *block.impl_;
  join(slot);
  own.linear.forward(own.context, own.weights.eh_proj, rows(slot).joined.data(), num_rows(slot),
                     block.input(slot).data());
  rows(slot).joined.drop(own.arena);
}

void NextToken::backward_input(int slot) {
  StageBase& own = *block.impl_;
  Context& context = own.context;
  Rows& at = rows(slot);
  const int n = num_rows(slot), hidden = own.config.hidden_size;
  const std::size_t all = elements(n, hidden);
  const Operands x = join(slot);
  Real* d_joined = context.scratch(kJoined, 2 * all).data();
  own.linear.backward_input(context, own.weights.eh_proj, block.input_gradient(slot).data(), n,
                            d_joined);
  Real* d_norms = take(at.d_norms, elements(3, hidden));
  std::fill_n(d_norms, elements(3, hidden), Real(0));

  Real* half = context.scratch(kHalf, all).data();
  take_side(d_joined, n, hidden, 0, half);
  rmsnorm_backward(context, half, x.embedding, hidden, own.value(own.weights.enorm),
                   x.rstd_embedding, n, hidden, take(at.d_embedding, all), hidden, false, d_norms);
  take_side(d_joined, n, hidden, 1, half);
  Real* d_hidden = context.scratch(kDHidden, all).data();
  rmsnorm_backward(context, half, x.hidden, hidden, own.value(own.weights.hnorm), x.rstd_hidden, n,
                   hidden, d_hidden, hidden, false, d_norms + hidden);
  rmsnorm_backward(context, d_hidden, x.output, hidden, own.value(previous.weights.norm),
                   x.rstd_output, n, hidden, take(at.d_previous, all), hidden, false,
                   d_norms + 2 * hidden);
}

void NextToken::backward_weights(int slot) {
  StageBase& own = *block.impl_;
  Rows& at = rows(slot);
  const int n = num_rows(slot), hidden = own.config.hidden_size;
  own.linear.backward_weight(own.context, own.weights.eh_proj, block.input_gradient(slot).data(),
                             at.joined.data(), n);
  own.add_vector_gradient(own.weights.enorm, at.d_norms.data());
  own.add_vector_gradient(own.weights.hnorm, at.d_norms.data() + hidden);
  own.add_vector_gradient(previous.weights.norm, at.d_norms.data() + 2 * hidden);
  const StageBase::Table table = own.embedding_table();
  embedding_backward(own.context, at.d_embedding.data(), block.micro_batch(slot).tokens.data(), n,
                     hidden, table.set.gradients().data() + table.offset);
  for (auto* buffer : {&at.joined, &at.d_embedding, &at.d_norms}) buffer->drop(own.arena);
}

void NextToken::add_gradient(int slot, Real* d_output) {
  if (static_cast<std::size_t>(slot) >= slots_.size() || !rows(slot).d_previous.held()) return;
  Rows& at = rows(slot);
  const int hidden = previous.config.hidden_size;
  const Real* d = at.d_previous.data();
  for (const std::int32_t from : at.from) {
    Real* to = d_output + elements(from, hidden);
    for (int i = 0; i < hidden; ++i) to[i] += d[i];
    d += hidden;
  }
  at.d_previous.drop(previous.arena);
}

void NextToken::release(int slot) {
  if (static_cast<std::size_t>(slot) >= slots_.size()) return;
  Rows& at = rows(slot);
  for (auto* buffer : {&at.joined, &at.d_embedding, &at.d_previous, &at.d_norms}) {
    buffer->drop(previous.arena);
  }
  block.release(slot);
}

std::size_t NextToken::bytes(int slot) const {
  if (static_cast<std::size_t>(slot) >= slots_.size()) return 0;
  const Rows& at = slots_[static_cast<std::size_t>(slot)];
  return at.joined.bytes() + at.d_embedding.bytes() + at.d_previous.bytes() + at.d_norms.bytes() +
         block.activation_bytes(slot);
}

}  // namespace weft::trainer

// Micro-batches for the tests of the expert exchange: every rank's is drawn the same wherever it is
// drawn, so that every rank knows what to expect.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/rng.h"
#include "comm/exchange/expert_exchange.h"
#include "tests/comm/ranks.h"

namespace weft::comm {

struct ExchangeCase {
  int num_experts = 8, top_k = 3, hidden = 5, max_tokens = 12;
};

/// How the tokens of a round choose, and how many each rank has.
enum class Routing { random, one_expert, one_token, empty_ranks };
inline constexpr Routing kRoutings[] = {Routing::random, Routing::one_expert, Routing::one_token,
                                        Routing::empty_ranks};

template <class Real>
struct TokenBatch {
  int num_tokens = 0;
  std::vector<Real> rows, weights, gradients;  // gradients: of the combined rows
  std::vector<std::int32_t> experts;
};

inline int draw_num_tokens(const ExchangeCase& shape, Routing routing, int rank, Rng& rng) {
  const auto any = static_cast<int>(rng.below(static_cast<std::uint32_t>(shape.max_tokens + 1)));
  if (routing == Routing::one_token) return rank == 1 ? 1 : 0;
  if (routing == Routing::empty_ranks) return rank % 2 == 0 ? 0 : shape.max_tokens;
  return any;
}

/// Values of many magnitudes, so that every other order of a sum shows.
template <class Real>
Real draw_value(Rng& rng) {
  return static_cast<Real>(rng.normal() * (rng.below(3) == 0 ? 1e4 : 1.0));
}

template <class Real>
TokenBatch<Real> draw_batch(const ExchangeCase& shape, Routing routing, int rank, int round) {
  Rng rng(7, "exchange", static_cast<std::uint64_t>(rank), static_cast<std::uint64_t>(round));
  TokenBatch<Real> batch;
  batch.num_tokens = draw_num_tokens(shape, routing, rank, rng);
  for (int i = 0; i < batch.num_tokens * shape.hidden; ++i) {
    batch.rows.push_back(draw_value<Real>(rng));
    batch.gradients.push_back(draw_value<Real>(rng));
  }
  for (int t = 0; t < batch.num_tokens; ++t) {
    std::vector<std::int32_t> left;
    for (int e = 0; e < shape.num_experts; ++e) left.push_back(e);
    for (int k = 0; k < shape.top_k; ++k) {
      auto pick = rng.below(static_cast<std::uint32_t>(left.size()));
      if (routing == Routing::one_expert) pick = 0;  // everybody to the first few
      batch.experts.push_back(left[pick]);
      left.erase(left.begin() + static_cast<std::ptrdiff_t>(pick));
      batch.weights.push_back(static_cast<Real>(rng.uniform()));
    }
  }
  return batch;
}

/// All that a round of the four exchanges leaves on a rank.
template <class Real>
struct RoundResult {
  std::vector<Real> rows, combined, gradients, d_rows, d_weights;
  std::vector<std::int32_t> expert_begin, slot_row;
  std::vector<float> slot_weight;
  std::vector<double> slot_weight_double;

  friend bool operator==(const RoundResult&, const RoundResult&) = default;
};

/// A round with "experts" that multiply by something of their own: parts differ from rank to rank.
template <class Real>
RoundResult<Real> run_round(ExpertExchange<Real>& exchange, ExpertLayout& layout,
                            const ExchangeCase& shape, const TokenBatch<Real>& batch, int rank) {
  RoundResult<Real> result;
  check(exchange.begin_dispatch(layout, 1, batch.num_tokens, batch.rows.data(),
                                batch.experts.data(), batch.weights.data()));
  const Real* rows = value_of(exchange.end_dispatch(layout));
  const auto num_values = static_cast<std::size_t>(layout.num_rows * shape.hidden);
  result.rows.assign(rows, rows + num_values);
  result.expert_begin = layout.expert_begin;
  result.slot_row = layout.slot_row;
  result.slot_weight = layout.slot_weight;
  result.slot_weight_double = layout.slot_weight_double;
  const auto factor = static_cast<Real>(1.0 / (3 + rank));
  std::vector<Real> parts = result.rows;
  for (Real& value : parts) value *= factor;
  result.combined.assign(batch.rows.size(), Real(0.1));
  check(exchange.begin_combine(layout, 2, parts.data()));
  check(exchange.end_combine(layout, result.combined.data()));
  check(exchange.begin_combine_backward(layout, 3, batch.gradients.data()));
  const Real* gradients = value_of(exchange.end_combine_backward(layout));
  result.gradients.assign(gradients, gradients + num_values);
  for (std::size_t i = 0; i < num_values; ++i) parts[i] = result.gradients[i] * factor;
  std::vector<Real> d_slots;
  for (int s = 0; s < layout.num_slots; ++s) d_slots.push_back(factor * static_cast<Real>(s + 1));
  result.d_rows.assign(batch.rows.size(), Real(0.3));
  result.d_weights.assign(batch.weights.size(), Real(77));
  check(exchange.begin_dispatch_backward(layout, 4, parts.data(), d_slots.data()));
  check(exchange.end_dispatch_backward(layout, result.d_rows.data(), result.d_weights.data()));
  return result;
}

}  // namespace weft::comm

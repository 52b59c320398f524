// How many bytes an expert exchange puts on which kind of link, counted from routing decisions
// alone: the same counts that a real exchange keeps while it runs.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/exchange/exchange_options.h"

namespace weft::comm {

/// Bytes of messages by the link they travel over; `self` is what a rank writes for itself.
struct LinkBytes {
  std::uint64_t self = 0, node = 0, cross = 0;  // this rank, same node, another node

  LinkBytes& operator+=(const LinkBytes& other) {
    self += other.self;
    node += other.node;
    cross += other.cross;
    return *this;
  }
  friend bool operator==(const LinkBytes&, const LinkBytes&) = default;
};

enum class ExchangeStep : std::uint8_t { dispatch, combine, combine_backward, dispatch_backward };
inline constexpr int kNumExchangeSteps = 4;

/// Sent by one rank, headers and padding included; [ExchangeStep].
struct ExchangeTraffic {
  std::array<LinkBytes, kNumExchangeSteps> steps;

  LinkBytes& operator[](ExchangeStep step) { return steps[static_cast<std::size_t>(step)]; }
  const LinkBytes& operator[](ExchangeStep step) const {
    return steps[static_cast<std::size_t>(step)];
  }
  friend bool operator==(const ExchangeTraffic&, const ExchangeTraffic&) = default;
};

struct TrafficShape {
  int num_experts = 0, top_k = 0, hidden = 0, real_bytes = 4;
};

/// The experts that one rank's tokens chose: [num_tokens, top_k].
using RankChoices = std::vector<std::int32_t>;

/// What each rank sends in one round of the four exchanges, all ranks' choices given. Expert e
/// lives on rank e / (num_experts / ranks); choices must be as ExpertExchange demands them.
/// options.nodes may be empty. Cost: one pass over the choices, and ranks^2 (two hops: times
/// ranks per node) additions.
std::vector<ExchangeTraffic> exchange_traffic(const TrafficShape& shape,
                                              const ExchangeOptions& options,
                                              std::span<const RankChoices> choices);

}  // namespace weft::comm

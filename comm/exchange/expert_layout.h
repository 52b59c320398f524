// What an exchange remembers in a layout between the dispatch and the three exchanges after it, and
// how the layout is filled from the dispatch messages that arrived. Internal to comm.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "comm/exchange/byte_buffer.h"
#include "comm/exchange/exchange_traffic.h"
#include "comm/exchange/expert_exchange.h"
#include "comm/exchange/expert_messages.h"
#include "comm/exchange/expert_routes.h"
#include "comm/exchange/part_sums.h"
#include "comm/exchange/relayed.h"

namespace weft::comm {

/// The messages of one exchange between its begin and its end; each path has its own kind.
struct ExchangeFlight {
  virtual ~ExchangeFlight() = default;
};

struct ExpertLayout::Private {
  /// Where this rank's own tokens went: [rank], or with two hops [node].
  std::vector<Route> routes;
  std::vector<Relayed> relayed;            // two hops: [source node]
  std::vector<std::int32_t> row_begin;     // [source rank + 1] rows that arrived from each
  std::vector<std::int32_t> choice_begin;  // [source rank + 1] the same for choices
  std::vector<std::int32_t> choice_slot;   // [num_slots] the slot of each choice, as they arrived
  std::vector<std::int32_t> slot_cursor;
  /// What picks this rank's replicas; null: every expert is where its home is, and nowhere else.
  ReplicaPicker* replicas = nullptr;
  std::vector<std::int32_t> experts, seats;  // with replicas: [num_tokens, top_k] of own tokens
  ByteBuffer rows, gradients;                // what end_dispatch and end_combine_backward return
  ExchangeFlight* flight = nullptr;
  std::optional<ExchangeStep> step;  // while between begin and end

  std::size_t num_rows_from(int rank) const { return count(row_begin, rank); }
  std::size_t num_choices_from(int rank) const { return count(choice_begin, rank); }

 private:
  static std::size_t count(const std::vector<std::int32_t>& begin, int rank) {
    const auto r = static_cast<std::size_t>(rank);
    return static_cast<std::size_t>(begin[r + 1] - begin[r]);
  }
};

/// What the layout's buffers and lists have taken.
std::size_t layout_bytes(const ExpertLayout& layout);

/// Fills the layout's public members and what it remembers of the arrived rows; messages[r] is
/// what rank r's tokens sent here. The rows themselves are written to priv->rows.
template <class Real>
void fill_layout(std::span<const DispatchView> messages, const ExchangeShape& shape,
                 ExpertLayout& layout);

/// One message's worth of what goes back to source rank r: its rows of `rows` [num_rows, hidden],
/// then, unless null, one value of slot_values [num_slots] per choice. Returns the end.
template <class Real>
std::byte* write_back(const ExpertLayout::Private& p, int r, std::size_t hidden, const Real* rows,
                      const Real* slot_values, std::byte* out);

/// At home, what write_back wrote for this route: its rows, which live as long as the message, and
/// unless null values[choice] of each of its choices.
template <class Real>
Parts<Real> read_back(const Route& route, ConstBytes message, std::size_t hidden, Real* values);

/// As write_back where a choice's result goes back by itself: the rows of slot_rows [num_slots,
/// hidden] of that rank's choices, in the order in which they arrived.
template <class Real>
void write_slots_back(const ExpertLayout::Private& p, int r, std::size_t hidden,
                      const Real* slot_rows, std::byte* out);

}  // namespace weft::comm

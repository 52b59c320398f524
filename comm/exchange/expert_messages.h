// The dispatch message of one rank to another: what it holds, how it is written, and how one that
// arrived is checked. Internal to comm.
//
//   DispatchHeader | rows [num_rows, hidden] as payload, padded to 4 | num_choices of each row,
//   int32 [num_rows] | per choice: local expert, int32 [num_choices] | per choice: gate weight
//   [num_choices]
//
// Rows ascend by token, a row's choices keep the order of the token's own list. The later messages
// of the same micro-batch (combine and both backward passes) have no header: both sides know their
// sizes from the dispatch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "comm/communicator.h"
#include "comm/exchange/expert_routes.h"
#include "comm/exchange/row_payload.h"

namespace weft::comm {

struct DispatchHeader {
  std::uint32_t magic;
  std::uint32_t real_bytes;
  std::uint32_t hidden;
  std::uint32_t num_local_experts;
  std::uint32_t num_rows;
  std::uint32_t num_choices;
  std::uint32_t payload;  // of the rows: a Payload
  std::uint32_t unused;
};
static_assert(sizeof(DispatchHeader) == 32);
inline constexpr std::uint32_t kDispatchMagic = 0x64706577;  // "wepd"

/// What both sides know before anything arrives.
struct ExchangeShape {
  std::uint32_t real_bytes, hidden, num_local_experts, max_tokens, top_k;
  Payload payload = Payload::full;

  /// Of a row on its way forth, which may be rounded, and of one on its way back.
  std::size_t forth_row_bytes() const { return payload_row_bytes(payload, hidden, real_bytes); }
  std::size_t row_bytes() const { return std::size_t{hidden} * real_bytes; }
  /// Of a message back: rows in full, then perhaps a value per choice.
  std::size_t back_bytes(std::size_t num_rows, std::size_t num_values) const {
    return num_rows * row_bytes() + num_values * real_bytes;
  }
  std::size_t choices_per_row_max() const {
    return top_k < num_local_experts ? top_k : num_local_experts;
  }
  /// Where each part of a message begins; `end` is its size. Parts are aligned for their type.
  struct Places {
    std::size_t rows, counts, experts, weights, end;
  };
  Places places(std::size_t num_rows, std::size_t num_choices) const {
    Places p;
    p.rows = sizeof(DispatchHeader);
    p.counts = (p.rows + num_rows * forth_row_bytes() + 3) / 4 * 4;
    p.experts = p.counts + num_rows * sizeof(std::int32_t);
    p.weights = (p.experts + num_choices * sizeof(std::int32_t) + 7) / 8 * 8;
    p.end = p.weights + num_choices * real_bytes;
    return p;
  }
  std::size_t message_bytes_max() const {
    return places(max_tokens, max_tokens * choices_per_row_max()).end;
  }
};

/// Writes a route's message to `out` (of places(...).end bytes, aligned to 8). The table that the
/// route was made of: rows of shape.forth_row_bytes(), and per choice its gate weight and its
/// expert, whose number at the receiver is local_of[expert].
template <class Real>
void write_dispatch(const ExchangeShape& shape, const Route& route, const std::byte* rows,
                    const std::int32_t* experts, const std::int32_t* local_of, const Real* weights,
                    std::byte* out);
/// Copies the route's rows of a table to `out`, one after the other; returns the end of them.
std::byte* copy_rows(const Route& route, const std::byte* rows, std::size_t row_bytes,
                     std::byte* out);

/// A dispatch message that passed its check; points into the bytes given.
struct DispatchView {
  std::uint32_t num_rows = 0;
  std::uint32_t num_choices = 0;
  const std::byte* rows = nullptr;
  const std::int32_t* counts = nullptr;
  const std::int32_t* experts = nullptr;
  const std::byte* weights = nullptr;
};

/// Checks every size and index in `message` (aligned to 8). Errors: Corrupt.
Expected<DispatchView> read_dispatch(const ExchangeShape& shape, ConstBytes message);

}  // namespace weft::comm

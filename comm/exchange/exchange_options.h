// How an expert exchange goes about it: the same values on every rank of the group.
#pragma once

#include <cstdint>
#include <string_view>

#include "comm/exchange/node_map.h"

namespace weft::comm {

/// How the rows of a dispatch, and the gradient rows of combine's backward pass, travel. Combine
/// and dispatch's backward pass always carry full values, because their sums would add rounded
/// parts.
enum class Payload : std::uint8_t {
  full,  // as they are
  bf16,  // rounded to nearest even
  fp8    // E4M3 in tiles of 1 x 128 with a power-of-two scale each: comm/exchange/row_payload.h
};

enum class Hops : std::uint8_t {
  one,  // straight from every rank to every rank
  two   // across nodes along the rail, then inside the node; with one node the same as `one`
};

/// "fp32" (full), "bf16", "fp8". Errors: InvalidArgument.
Expected<Payload> parse_payload(std::string_view text);

struct ExchangeOptions {
  NodeMap nodes;  // empty: one node
  Hops hops = Hops::two;
  Payload dispatch_payload = Payload::full;
};

}  // namespace weft::comm

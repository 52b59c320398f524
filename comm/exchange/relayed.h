// What a relay of the two-hop exchange hands on inside its node, and what it remembers of it for
// the exchanges that follow. Plain values; internal to comm.
#pragma once

#include <span>
#include <vector>

#include "comm/exchange/expert_messages.h"
#include "comm/exchange/expert_routes.h"

namespace weft::comm {

/// Which of the rows and choices in one source rank's message went to which rank of the node.
struct Relayed {
  std::size_t num_rows = 0, num_choices = 0;
  std::vector<Route> to;  // [index in the node]
};

/// Splits a message over the ranks of the node; member_of[expert of the node] is where it lives.
void route_relayed(const DispatchView& message, std::span<const std::int32_t> member_of,
                   int num_members, Relayed& relayed);

/// The size of the dispatch sections for one rank of the node, a section for each source.
std::size_t sections_bytes(const ExchangeShape& shape, std::span<const Relayed> sources,
                           int member);
/// The largest that it can be.
std::size_t sections_bytes_max(const ExchangeShape& shape, std::size_t num_sources);

/// Writes them; messages[i] is what sources[i] was made of, local_of[expert of the node] an
/// expert's number at its rank. out: aligned to 8.
template <class Real>
void write_sections(const ExchangeShape& shape, std::span<const Relayed> sources,
                    std::span<const DispatchView> messages, int member,
                    const std::int32_t* local_of, std::byte* out);

}  // namespace weft::comm

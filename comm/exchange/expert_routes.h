// Which rows and choices of a table go to which party: a rank, a node, or a rank inside a node.
// Plain values; internal to comm.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/expected.h"

namespace weft::comm {

/// What goes to one party: its rows, ascending, how many choices each row has there, and which
/// entries of the table of choices they are.
struct Route {
  std::vector<std::int32_t> rows;
  std::vector<std::int32_t> counts;   // per row
  std::vector<std::int32_t> choices;  // per choice
};

/// Adds a choice; rows must come ascending, the choices of a row together.
inline void add_choice(Route& route, std::int32_t row, std::int32_t choice) {
  if (route.rows.empty() || route.rows.back() != row) {
    route.rows.push_back(row);
    route.counts.push_back(0);
  }
  ++route.counts.back();
  route.choices.push_back(choice);
}

/// Empty routes to so many parties; keeps their memory.
void clear_routes(std::vector<Route>& routes, int num_parties);

/// The experts that the tokens of a micro-batch chose, or their seats, [num_tokens, top_k].
struct Choices {
  int num_tokens = 0, top_k = 0;
  const std::int32_t* experts = nullptr;
};

/// Are all choices experts, those of one token all different? `last_token` is scratch, one an
/// expert. Errors: InvalidArgument.
Expected<void> check_choices(const Choices& choices, std::span<std::int32_t> last_token);

/// Splits checked choices over parties; party_of[seat] is where a seat is (ExpertPlacement).
void route_choices(const Choices& choices, std::span<const std::int32_t> party_of, int num_parties,
                   std::vector<Route>& routes);

}  // namespace weft::comm

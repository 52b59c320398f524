#include "comm/exchange/expert_routes.h"

#include <algorithm>

namespace weft::comm {

void clear_routes(std::vector<Route>& routes, int num_parties) {
  routes.resize(static_cast<std::size_t>(num_parties));
  for (Route& route : routes) {
    route.rows.clear();
    route.counts.clear();
    route.choices.clear();
  }
}

Expected<void> check_choices(const Choices& choices, std::span<std::int32_t> last_token) {
  const auto num_experts = static_cast<std::int32_t>(last_token.size());
  std::fill(last_token.begin(), last_token.end(), -1);
  const std::int32_t* next = choices.experts;
  for (std::int32_t token = 0; token < choices.num_tokens; ++token) {
    for (int k = 0; k < choices.top_k; ++k) {
      const std::int32_t expert = *next++;
      const bool exists = expert >= 0 && expert < num_experts;
      if (!exists || last_token[static_cast<std::size_t>(expert)] == token)
        return fail(Code::InvalidArgument,
                    "token " + std::to_string(token) + " chose expert " + std::to_string(expert) +
                        " of " + std::to_string(num_experts) + (exists ? " twice" : ""));
      last_token[static_cast<std::size_t>(expert)] = token;
    }
  }
  return {};
}

void route_choices(const Choices& choices, std::span<const std::int32_t> party_of, int num_parties,
                   std::vector<Route>& routes) {
  clear_routes(routes, num_parties);
  std::int32_t choice = 0;
  for (std::int32_t token = 0; token < choices.num_tokens; ++token) {
    for (int k = 0; k < choices.top_k; ++k, ++choice) {
      const auto expert = static_cast<std::size_t>(choices.experts[choice]);
      add_choice(routes[static_cast<std::size_t>(party_of[expert])], token, choice);
    }
  }
}

}  // namespace weft::comm

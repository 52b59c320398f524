// The best one-to-one assignment of n things to n places.
#pragma once

#include <vector>

namespace weft::scheduler {

/// result[row] = column, every column once, with the least total cost[row][column]. Square.
/// Cost: O(n^3). Deterministic.
std::vector<int> least_cost_assignment(const std::vector<std::vector<long long>>& cost);

}  // namespace weft::scheduler

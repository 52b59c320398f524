#include "scheduler/balance/assignment.h"

#include <limits>

namespace weft::scheduler {

// Rows enter one by one; each enters along the cheapest augmenting path, found with potentials that
// keep all reduced costs non-negative (Kuhn and Munkres, in the form of Jonker and Volgenant).
std::vector<int> least_cost_assignment(const std::vector<std::vector<long long>>& cost) {
  const int n = static_cast<int>(cost.size());
  constexpr long long kFar = std::numeric_limits<long long>::max() / 4;
  std::vector<long long> row_potential(n + 1, 0), column_potential(n + 1, 0);
  std::vector<int> row_of(n + 1, n), came_from(n + 1, n);  // column n is where a path begins
  for (int row = 0; row < n; ++row) {
    row_of[n] = row;
    int column = n;
    std::vector<long long> distance(n + 1, kFar);
    std::vector<bool> reached(n + 1, false);
    while (row_of[column] != n) {
      reached[column] = true;
      const int here = row_of[column];
      long long least = kFar;
      int next = n;
      for (int c = 0; c < n; ++c) {
        if (reached[c]) continue;
        const long long reduced = cost[here][c] - row_potential[here] - column_potential[c];
        if (reduced < distance[c]) {
          distance[c] = reduced;
          came_from[c] = column;
        }
        if (distance[c] < least) {
          least = distance[c];
          next = c;
        }
      }
      for (int c = 0; c <= n; ++c) {
        if (reached[c]) {
          row_potential[row_of[c]] += least;
          column_potential[c] -= least;
        } else if (c < n) {
          distance[c] -= least;
        }
      }
      column = next;
    }
    for (; column != n; column = came_from[column]) row_of[column] = row_of[came_from[column]];
  }
  std::vector<int> column_of(n);
  for (int c = 0; c < n; ++c) column_of[row_of[c]] = c;
  return column_of;
}

}  // namespace weft::scheduler

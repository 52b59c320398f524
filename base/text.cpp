#include "base/text.h"

#include <algorithm>

namespace weft {

int edit_distance(std::string_view a, std::string_view b) {
  const int m = static_cast<int>(a.size()), n = static_cast<int>(b.size());
  std::vector<std::vector<int>> d(m + 1, std::vector<int>(n + 1));
  for (int i = 0; i <= m; ++i) d[i][0] = i;
  for (int j = 0; j <= n; ++j) d[0][j] = j;
  for (int i = 1; i <= m; ++i) {
    for (int j = 1; j <= n; ++j) {
      const int change = a[i - 1] == b[j - 1] ? 0 : 1;
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[m][n];
}

std::string closest(std::string_view word, std::span<const std::string> candidates) {
  std::string best;
  int best_distance = std::max(2, static_cast<int>(word.size()) / 3) + 1;
  for (const std::string& candidate : candidates) {
    const int distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string join(std::span<const std::string> parts, std::string_view separator) {
  std::string text;
  for (const std::string& part : parts) {
    if (!text.empty()) text += separator;
    text += part;
  }
  return text;
}

}  // namespace weft

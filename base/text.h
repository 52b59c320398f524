// Small text helpers shared by everything that talks to people.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

/// Damerau-Levenshtein distance (adjacent transpositions count one).
int edit_distance(std::string_view a, std::string_view b);

/// The candidate a mistyped `word` most likely meant, or "" when none is near.
std::string closest(std::string_view word, std::span<const std::string> candidates);

std::string join(std::span<const std::string> parts, std::string_view separator);

}  // namespace weft

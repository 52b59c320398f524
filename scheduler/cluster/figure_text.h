// A figure of a cluster as people write it: a number with its unit.
#pragma once

#include <string>
#include <string_view>

#include "base/expected.h"

namespace weft::scheduler {

enum class Unit { Count, Share, Flops, Bytes, Bandwidth, Time, Power, Money };

/// "50 GB/s" -> 50e9. Count and Share take a plain number (a share also "62 %"); everything else
/// requires its unit. Errors: InvalidArgument with "<message>\n<hint>".
Expected<double> parse_figure(Unit unit, std::string_view text);
/// As a person writes it; parse_figure reads it back to 6 digits.
std::string figure_text(Unit unit, double value);
/// For people: to 3 digits, which is what a measurement is worth; whole counts as they are.
std::string rounded_text(Unit unit, double value);
/// "50 GB/s": in the unit that people use most.
std::string example_figure(Unit unit);

}  // namespace weft::scheduler

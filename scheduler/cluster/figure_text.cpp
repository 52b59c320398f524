#include "scheduler/cluster/figure_text.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <span>

namespace weft::scheduler {
namespace {

struct Scale {
  std::string_view unit;
  double factor;
};

/// The first of each is what the hint shows.
std::span<const Scale> scales(Unit unit) {
  static constexpr Scale share[] = {{"", 1}, {"%", 0.01}};
  static constexpr Scale count[] = {{"", 1}};
  static constexpr Scale flops[] = {
      {"TFLOP/s", 1e12}, {"PFLOP/s", 1e15}, {"GFLOP/s", 1e9}, {"MFLOP/s", 1e6}};
  static constexpr Scale bytes[] = {{"GB", 1e9},     {"GiB", 0x1p30}, {"TB", 1e12},
                                    {"TiB", 0x1p40}, {"MB", 1e6},     {"MiB", 0x1p20},
                                    {"KB", 1e3},     {"KiB", 0x1p10}, {"B", 1}};
  static constexpr Scale bandwidth[] = {{"GB/s", 1e9},     {"TB/s", 1e12},    {"MB/s", 1e6},
                                        {"GiB/s", 0x1p30}, {"KB/s", 1e3},     {"B/s", 1},
                                        {"Gb/s", 1e9 / 8}, {"Tb/s", 1e12 / 8}};
  static constexpr Scale time[] = {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1},    {"ns", 1e-9},
                                   {"m", 60},    {"h", 3600},  {"d", 86400}};
  static constexpr Scale power[] = {{"W", 1}, {"kW", 1e3}};
  static constexpr Scale money[] = {{"USD", 1}, {"$", 1}};
  switch (unit) {
    case Unit::Count:
      return count;
    case Unit::Share:
      return share;
    case Unit::Flops:
      return flops;
    case Unit::Bytes:
      return bytes;
    case Unit::Bandwidth:
      return bandwidth;
    case Unit::Time:
      return time;
    case Unit::Power:
      return power;
    case Unit::Money:
      return money;
  }
  return count;
}

std::string known_units(Unit unit) {
  std::string text;
  for (const Scale& scale : scales(unit))
    if (!scale.unit.empty()) text += (text.empty() ? "" : ", ") + std::string(scale.unit);
  return text;
}

}  // namespace

std::string example_figure(Unit unit) {
  if (unit == Unit::Share) return "0.5";
  if (unit == Unit::Count) return "8";
  if (unit == Unit::Money) return "2 USD";
  const std::string_view first = scales(unit).front().unit;
  return "50 " + std::string(first);
}

Expected<double> parse_figure(Unit unit, std::string_view text) {
  const std::string shown(text);
  if (unit == Unit::Money && text.starts_with("$")) text.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string example = example_figure(unit);
  if (error != std::errc() || !std::isfinite(number))
    return fail(Code::InvalidArgument,
                "'" + shown + "' is not a number with a unit\nsuch as " + example);
  std::string_view rest(end, static_cast<std::size_t>(text.data() + text.size() - end));
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  if (unit == Unit::Money && shown.starts_with("$") && rest.empty()) return number;
  for (const Scale& scale : scales(unit))
    if (scale.unit == rest) return number * scale.factor;
  if (rest.empty())
    return fail(Code::InvalidArgument, "'" + shown + "' has no unit\nsuch as " + example +
                                           "; known are " + known_units(unit));
  const std::string known = known_units(unit);
  return fail(Code::InvalidArgument, "'" + shown + "': unit '" + std::string(rest) +
                                         "' does not fit here\n" +
                                         (known.empty() ? "a plain number" : "known are " + known));
}

namespace {

/// The unit in which the number is shortest to read.
const Scale& best_scale(Unit unit, double value) {
  const auto list = scales(unit);
  const Scale* best = &list.front();
  if (unit != Unit::Money && unit != Unit::Share)
    for (const Scale& scale : list) {
      if (scale.unit == "Gb/s" || scale.unit == "Tb/s" || scale.unit.find('i') == 1) continue;
      const double now = std::abs(value) / best->factor, then = std::abs(value) / scale.factor;
      if ((now < 1 && then > now && then < 1e6) || (now >= 1000 && then >= 1 && then < now))
        best = &scale;
    }
  return *best;
}

}  // namespace

std::string figure_text(Unit unit, double value) {
  const Scale& scale = best_scale(unit, value);
  std::array<char, 48> number;
  const bool count = unit == Unit::Count && std::abs(value) < 1e15;
  std::snprintf(number.data(), number.size(), count ? "%.15g" : "%.6g", value / scale.factor);
  return std::string(number.data()) + (scale.unit.empty() ? "" : " ") + std::string(scale.unit);
}

std::string rounded_text(Unit unit, double value) {
  if (unit == Unit::Count && value == std::floor(value)) return figure_text(unit, value);
  // 999.6 MB/s rounds to 1 GB/s: the unit is chosen anew.
  const double factor = best_scale(unit, value).factor;
  std::array<char, 48> number;
  std::snprintf(number.data(), number.size(), "%.2e", value / factor);
  return figure_text(unit, std::strtod(number.data(), nullptr) * factor);
}

}  // namespace weft::scheduler

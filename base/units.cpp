#include "base/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <span>

namespace weft {
namespace {

struct Quantity {
  double number;
  std::string_view unit;
};

Expected<Quantity> split(std::string_view text, std::string_view what) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number) || number < 0)
    return fail(Code::InvalidArgument, "'" + std::string(text) + "' is not a " + std::string(what));
  std::string_view unit(end, text.data() + text.size() - end);
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  return Quantity{number, unit};
}

struct Unit {
  std::string_view name;
  double factor;
};

Expected<double> scaled(std::string_view text, std::string_view what, std::span<const Unit> units,
                        std::string_view list) {
  WEFT_TRY_ASSIGN(const Quantity q, split(text, what));
  for (const Unit& unit : units)
    if (unit.name == q.unit) return q.number * unit.factor;
  if (q.unit.empty() && q.number == 0) return 0.0;
  return fail(Code::InvalidArgument, "'" + std::string(text) + "' is not a " + std::string(what) +
                                         ": the unit must be one of " + std::string(list));
}

Expected<std::uint64_t> whole(double value, std::string_view text, std::string_view what) {
  if (value != std::floor(value) || value >= 0x1p63)
    return fail(Code::InvalidArgument,
                "'" + std::string(text) + "' is not a whole " + std::string(what) + " in range");
  return static_cast<std::uint64_t>(value);
}

std::string print(const char* format, double value, const char* unit) {
  std::array<char, 48> out;
  std::snprintf(out.data(), out.size(), format, value, unit);
  return out.data();
}

}  // namespace

Expected<Duration> parse_duration(std::string_view text) {
  static constexpr Unit units[] = {{"ns", 1},   {"us", 1e3},   {"ms", 1e6},   {"s", 1e9},
                                   {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}};
  WEFT_TRY_ASSIGN(const double ns, scaled(text, "duration", units, "ms, s, m, h, d"));
  if (ns >= 0x1p63) return fail(Code::InvalidArgument, "'" + std::string(text) + "' is too long");
  return Duration(static_cast<std::int64_t>(ns));
}

Expected<std::uint64_t> parse_bytes(std::string_view text) {
  static constexpr Unit units[] = {
      {"", 1},         {"B", 1},    {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30},
      {"TiB", 0x1p40}, {"KB", 1e3}, {"MB", 1e6},     {"GB", 1e9},     {"TB", 1e12}};
  WEFT_TRY_ASSIGN(const double n, scaled(text, "size", units, "KiB, MiB, GiB, TiB"));
  return whole(n, text, "number of bytes");
}

Expected<std::uint64_t> parse_count(std::string_view text) {
  static constexpr Unit units[] = {{"", 1},    {"K", 1e3}, {"k", 1e3}, {"M", 1e6},
                                   {"B", 1e9}, {"G", 1e9}, {"T", 1e12}};
  WEFT_TRY_ASSIGN(const double n, scaled(text, "count", units, "K, M, B, T"));
  return whole(std::round(n * 1e3) / 1e3, text, "count");
}

std::string format_duration(Duration d) {
  const double s = seconds(d);
  if (s < 1e-3) return print("%.0f %s", s * 1e6, "us");
  if (s < 1) return print("%.0f %s", s * 1e3, "ms");
  if (s < 60) return print("%.1f %s", s, "s");
  const auto total = static_cast<long long>(s);
  std::array<char, 48> out;
  if (total < 3600)
    std::snprintf(out.data(), out.size(), "%lld m %02lld s", total / 60, total % 60);
  else
    std::snprintf(out.data(), out.size(), "%lld h %02lld m", total / 3600, total / 60 % 60);
  return out.data();
}

std::string format_bytes(std::uint64_t n) {
  const auto value = static_cast<double>(n);
  if (n < 1024) return print("%.0f %s", value, "B");
  if (value < 0x1p20) return print("%.1f %s", value * 0x1p-10, "KiB");
  if (value < 0x1p30) return print("%.1f %s", value * 0x1p-20, "MiB");
  return print("%.2f %s", value * 0x1p-30, "GiB");
}

std::string format_count(double n) {
  if (n < 1e3) return print("%.0f%s", n, "");
  if (n < 1e6) return print("%.1f %s", n * 1e-3, "K");
  if (n < 1e9) return print("%.2f %s", n * 1e-6, "M");
  if (n < 1e12) return print("%.2f %s", n * 1e-9, "B");
  return print("%.2f %s", n * 1e-12, "T");
}

std::string format_time(WallTime t) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(t.time_since_epoch());
  const std::time_t whole_seconds = ms.count() / 1000;
  std::tm utc{};
  gmtime_r(&whole_seconds, &utc);
  std::array<char, 32> day;
  std::strftime(day.data(), day.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  std::array<char, 48> out;
  std::snprintf(out.data(), out.size(), "%s.%03dZ", day.data(),
                static_cast<int>(ms.count() % 1000));
  return out.data();
}

}  // namespace weft

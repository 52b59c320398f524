// Quantities as people write them, and back: durations, bytes, counts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/expected.h"

namespace weft {

/// "250ms", "30s", "5m", "2h", "1d". A unit is required; "0" alone is allowed.
Expected<Duration> parse_duration(std::string_view text);
/// "512", "64KiB", "16MiB", "2GiB", "1TiB" (and decimal KB, MB, GB, TB).
Expected<std::uint64_t> parse_bytes(std::string_view text);
/// "1200", "1.5K", "2M", "14.8T": whole numbers with an optional decimal suffix K, M, B/G, T.
Expected<std::uint64_t> parse_count(std::string_view text);

std::string format_duration(Duration d);    // "1 m 12 s", "3.4 s", "120 ms"
std::string format_bytes(std::uint64_t n);  // "1.5 MiB"
std::string format_count(double n);         // "1.23 M"
/// RFC 3339 in UTC with milliseconds: "2026-01-31T12:00:00.123Z".
std::string format_time(WallTime t);

}  // namespace weft

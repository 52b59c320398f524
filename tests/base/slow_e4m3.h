// E4M3 as its definition reads, for tests to compare with.
#pragma once

#include <cmath>
#include <limits>

namespace weft::testing_e4m3 {

/// The value of a code as the format's definition says it, with nothing clever.
inline double e4m3_value(int code) {
  const int exponent = (code >> 3) & 15, mantissa = code & 7;
  if (exponent == 15 && mantissa == 7) return std::nan("");
  const double magnitude = exponent == 0 ? mantissa / 8.0 * std::pow(2.0, -6)
                                         : (1 + mantissa / 8.0) * std::pow(2.0, exponent - 7);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

/// The nearest finite code, found by trying all; of two equally near the even one.
inline int nearest_e4m3(double value) {
  int best = -1;
  double distance = std::numeric_limits<double>::infinity();
  for (int code = 0; code < 0x7f; ++code) {
    const double d = std::fabs(std::fabs(value) - e4m3_value(code));
    if (d < distance || (d == distance && code % 2 == 0)) {
      best = code;
      distance = d;
    }
  }
  return best | (std::signbit(value) ? 0x80 : 0);
}

}  // namespace weft::testing_e4m3

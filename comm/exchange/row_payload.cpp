#include "comm/exchange/row_payload.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/small_floats.h"

namespace weft::comm {
namespace {

constexpr int kScaleBias = 127, kScaleMax = 127;

std::size_t num_tiles(std::size_t hidden) { return (hidden + kTileWidth - 1) / kTileWidth; }

/// The smallest k in -127..127 with largest / 2^k <= 448 (if any): 448 = 0.875 * 2^9.
int tile_exponent(double largest) {
  if (largest == 0) return -kScaleBias;
  int exponent = 0;
  const double mantissa = std::frexp(largest, &exponent);  // in [0.5, 1)
  return std::clamp(exponent - (mantissa <= 0.875 ? 9 : 8), -kScaleBias, kScaleMax);
}

template <class Real>
std::byte encode_tile(const Real* values, std::size_t count, std::byte* codes) {
  double largest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const double magnitude = std::fabs(static_cast<double>(values[i]));
    if (std::isfinite(magnitude)) largest = std::max(largest, magnitude);
  }
  const int exponent = tile_exponent(largest);
  const double factor = std::ldexp(1.0, -exponent);  // exact
  for (std::size_t i = 0; i < count; ++i)
    codes[i] = std::byte{to_e4m3(static_cast<double>(values[i]) * factor)};
  return static_cast<std::byte>(exponent + kScaleBias);
}

/// Near the largest float a value may have been rounded up to beyond it.
template <class Real>
Real saturated(double value) {
  constexpr double kMax = static_cast<double>(std::numeric_limits<Real>::max());
  return static_cast<Real>(value > kMax ? kMax : value < -kMax ? -kMax : value);
}

template <class Real>
void decode_tile(const std::byte* codes, std::size_t count, std::byte scale_byte, Real* out) {
  const int stored = std::to_integer<int>(scale_byte);
  const double scale = stored == 255 ? std::numeric_limits<double>::quiet_NaN()
                                     : std::ldexp(1.0, stored - kScaleBias);
  for (std::size_t i = 0; i < count; ++i)
    out[i] = saturated<Real>(from_e4m3(std::to_integer<std::uint8_t>(codes[i])) * scale);
}

template <class Real>
void encode_bf16(const Real* values, std::size_t count, std::byte* out) {
  for (std::size_t i = 0; i < count; ++i, out += sizeof(std::uint16_t)) {
    const std::uint16_t code = to_bf16(static_cast<double>(values[i]));
    std::memcpy(out, &code, sizeof code);
  }
}

template <class Real>
void decode_bf16(const std::byte* codes, std::size_t count, Real* out) {
  for (std::size_t i = 0; i < count; ++i, codes += sizeof(std::uint16_t)) {
    std::uint16_t code = 0;
    std::memcpy(&code, codes, sizeof code);
    out[i] = static_cast<Real>(from_bf16(code));
  }
}

}  // namespace

std::size_t payload_row_bytes(Payload payload, std::size_t hidden, std::size_t real_bytes) {
  switch (payload) {
    case Payload::bf16:
      return hidden * sizeof(std::uint16_t);
    case Payload::fp8:
      return hidden + num_tiles(hidden);
    case Payload::full:
      break;
  }
  return hidden * real_bytes;
}

template <class Real>
void encode_rows(Payload payload, std::size_t hidden, std::size_t num_rows, const Real* rows,
                 std::byte* out) {
  if (payload == Payload::full && num_rows > 0)
    std::memcpy(out, rows, num_rows * hidden * sizeof(Real));
  if (payload == Payload::bf16) encode_bf16(rows, num_rows * hidden, out);
  if (payload != Payload::fp8) return;
  for (std::size_t r = 0; r < num_rows; ++r, rows += hidden) {
    std::byte* scale = out + hidden;
    for (std::size_t at = 0; at < hidden; at += kTileWidth)
      *scale++ = encode_tile(rows + at, std::min(kTileWidth, hidden - at), out + at);
    out = scale;
  }
}

template <class Real>
void decode_rows(Payload payload, std::size_t hidden, std::size_t num_rows, const std::byte* rows,
                 Real* out) {
  if (payload == Payload::full && num_rows > 0)
    std::memcpy(out, rows, num_rows * hidden * sizeof(Real));
  if (payload == Payload::bf16) decode_bf16(rows, num_rows * hidden, out);
  if (payload != Payload::fp8) return;
  for (std::size_t r = 0; r < num_rows; ++r, out += hidden) {
    const std::byte* scale = rows + hidden;
    for (std::size_t at = 0; at < hidden; at += kTileWidth)
      decode_tile(rows + at, std::min(kTileWidth, hidden - at), *scale++, out + at);
    rows = scale;
  }
}

template void encode_rows(Payload, std::size_t, std::size_t, const float*, std::byte*);
template void encode_rows(Payload, std::size_t, std::size_t, const double*, std::byte*);
template void decode_rows(Payload, std::size_t, std::size_t, const std::byte*, float*);
template void decode_rows(Payload, std::size_t, std::size_t, const std::byte*, double*);

Expected<Payload> parse_payload(std::string_view text) {
  if (text == "fp32") return Payload::full;
  if (text == "bf16") return Payload::bf16;
  if (text == "fp8") return Payload::fp8;
  return fail(Code::InvalidArgument,
              "'" + std::string(text) + "' is no payload; there are fp32, bf16 and fp8");
}

}  // namespace weft::comm

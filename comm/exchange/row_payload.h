// Rows as they travel: encoded once by the rank that owns the token, forwarded as bytes, decoded
// where the experts are. A rank's own rows go through the same rounding, so that numbers do not
// depend on where an expert lives.
#pragma once

#include <cstddef>
#include <cstdint>

#include "comm/exchange/exchange_options.h"

namespace weft::comm {

/// Values that share one scale. Source: DeepSeek-V3 report, section 3.3 (1 x 128 activation tiles,
/// power-of-two scales for what is dispatched).
inline constexpr std::size_t kTileWidth = 128;

/// Bytes of one row of `hidden` values. fp8: one code per value, then one scale per tile, the last
/// tile perhaps short; a scale byte b stands for 2^(b - 127), 255 for NaN (OCP E8M0).
std::size_t payload_row_bytes(Payload payload, std::size_t hidden, std::size_t real_bytes);

/// rows [num_rows, hidden] to `out` [num_rows, payload_row_bytes].
/// fp8: the scale is the smallest power of two (2^-127 at least) with which the tile's largest
/// finite value stays within 448; other values round to nearest even; infinities become NaN.
template <class Real>
void encode_rows(Payload payload, std::size_t hidden, std::size_t num_rows, const Real* rows,
                 std::byte* out);
/// The mirror; any bytes are a row. Values beyond the finite ones of Real saturate.
template <class Real>
void decode_rows(Payload payload, std::size_t hidden, std::size_t num_rows, const std::byte* rows,
                 Real* out);

}  // namespace weft::comm

#include "trainer/hf/number_formats.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/small_floats.h"

namespace weft::trainer::hf {
namespace {

using checkpoint::Dtype;

constexpr float kF16Largest = 65504.0f;
constexpr float kF16RoundsToInfinity = 65520.0f;

void put(std::span<std::byte> out, std::size_t index, std::uint16_t code) {
  std::memcpy(out.data() + index * sizeof code, &code, sizeof code);
}
std::uint16_t take(std::span<const std::byte> bytes, std::size_t index) {
  std::uint16_t code = 0;
  std::memcpy(&code, bytes.data() + index * sizeof code, sizeof code);
  return code;
}

/// Calls `on_block(first_row, end_row, first_column, end_column, index of its scale)`.
template <class OnBlock>
void for_each_block(const BlockedShape& s, OnBlock on_block) {
  for (std::int64_t r = 0, index = 0; r < s.rows; r += s.block_rows)
    for (std::int64_t c = 0; c < s.columns; c += s.block_columns, ++index)
      on_block(r, std::min(r + s.block_rows, s.rows), c, std::min(c + s.block_columns, s.columns),
               static_cast<std::size_t>(index));
}

}  // namespace

Expected<void> encode(std::span<const float> values, Dtype dtype, std::span<std::byte> out) {
  WEFT_CHECK(out.size() == values.size() * checkpoint::bytes_of(dtype));
  if (dtype == Dtype::F32) {
    std::memcpy(out.data(), values.data(), out.size());
  } else if (dtype == Dtype::BF16) {
    for (std::size_t i = 0; i < values.size(); ++i) put(out, i, Bf16(values[i]).bits);
  } else if (dtype == Dtype::F16) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (std::isfinite(values[i]) && std::fabs(values[i]) >= kF16RoundsToInfinity)
        return fail(Code::InvalidArgument,
                    fmt::format("element {} is {}, beyond F16's {}; choose bf16", i, values[i],
                                kF16Largest));
      put(out, i, to_f16(values[i]));
    }
  } else {
    return fail(Code::InvalidArgument,
                "cannot write weights as " + std::string(checkpoint::to_string(dtype)));
  }
  return {};
}

Expected<void> decode(std::span<const std::byte> bytes, Dtype dtype, std::span<float> out) {
  WEFT_CHECK(bytes.size() == out.size() * checkpoint::bytes_of(dtype));
  if (dtype == Dtype::F32) {
    std::memcpy(out.data(), bytes.data(), bytes.size());
  } else if (dtype == Dtype::BF16) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = from_bf16(take(bytes, i));
  } else if (dtype == Dtype::F16) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = from_f16(take(bytes, i));
  } else {
    return fail(Code::InvalidArgument,
                "weights cannot be " + std::string(checkpoint::to_string(dtype)));
  }
  return {};
}

void quantize_blocks(const BlockedShape& shape, std::span<const float> values,
                     std::span<std::uint8_t> codes, std::span<float> scales) {
  for_each_block(shape, [&](auto row, auto row_end, auto column, auto column_end, auto index) {
    float largest = 0;
    for (std::int64_t r = row; r < row_end; ++r)
      for (std::int64_t i = r * shape.columns + column; i < r * shape.columns + column_end; ++i)
        largest = std::max(largest, std::fabs(values[static_cast<std::size_t>(i)]));
    float scale = largest / static_cast<float>(kE4m3Max);  // in float, as training does
    if (scale == 0) scale = 1;  // zeros, or too small to have a scale: all codes are then zero
    scales[index] = scale;
    for (std::int64_t r = row; r < row_end; ++r)
      for (std::int64_t i = r * shape.columns + column; i < r * shape.columns + column_end; ++i)
        codes[static_cast<std::size_t>(i)] =
            to_e4m3(values[static_cast<std::size_t>(i)] / scale);
  });
}

void dequantize_blocks(const BlockedShape& shape, std::span<const std::uint8_t> codes,
                       std::span<const float> scales, std::span<float> values) {
  for_each_block(shape, [&](auto row, auto row_end, auto column, auto column_end, auto index) {
    for (std::int64_t r = row; r < row_end; ++r)
      for (std::int64_t i = r * shape.columns + column; i < r * shape.columns + column_end; ++i)
        values[static_cast<std::size_t>(i)] =
            from_e4m3(codes[static_cast<std::size_t>(i)]) * scales[index];
  });
}

Expected<void> check_finite(std::span<const float> values) {
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]))
      return fail(Code::Corrupt, fmt::format("element {} is {}", i, values[i]));
  return {};
}

}  // namespace weft::trainer::hf

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/small_floats.h"
#include "trainer/gguf/export.h"
#include "trainer/hf/number_formats.h"

namespace weft::trainer::gguf {
namespace {

constexpr std::size_t kBlock = 32;  // of Q8_0
constexpr std::size_t kBlockBytes = 2 + kBlock;
constexpr float kScaleLargest = 65504.0f;  // F16's

Expected<void> encode_q8_0(std::span<const float> values, std::span<std::byte> out) {
  for (std::size_t b = 0; b < values.size() / kBlock; ++b) {
    const std::span<const float> block = values.subspan(b * kBlock, kBlock);
    float largest = 0;
    for (const float value : block) largest = std::max(largest, std::fabs(value));
    const float scale = largest / 127.0f;
    if (scale > kScaleLargest)
      return fail(Code::InvalidArgument,
                  fmt::format("{} is beyond what Q8_0 can hold; choose bf16", largest));
    const float inverse = scale != 0 ? 1.0f / scale : 0.0f;
    const std::uint16_t code = to_f16(scale);
    std::byte* const to = out.data() + b * kBlockBytes;
    std::memcpy(to, &code, sizeof code);
    for (std::size_t i = 0; i < kBlock; ++i)
      to[2 + i] = static_cast<std::byte>(
          static_cast<std::int8_t>(std::clamp(std::round(block[i] * inverse), -127.0f, 127.0f)));
  }
  return {};
}

}  // namespace

Expected<void> encode(std::span<const float> values, Type type, std::vector<std::byte>& out) {
  using checkpoint::Dtype;
  const auto bytes = bytes_of(static_cast<std::uint32_t>(type), values.size());
  WEFT_CHECK(bytes.has_value(), "rows are whole blocks");
  out.resize(*bytes);
  if (type == Type::Q8_0) return encode_q8_0(values, out);
  return hf::encode(values,
                    type == Type::F32   ? Dtype::F32
                    : type == Type::F16 ? Dtype::F16
                                        : Dtype::BF16,
                    out);
}

}  // namespace weft::trainer::gguf

// Any bytes as a safetensors header: refused, or every promise of parse_header holds.
#include <algorithm>

#include "base/check.h"
#include "tests/fuzz/replay.h"
#include "trainer/checkpoint/safetensors.h"

namespace checkpoint = weft::trainer::checkpoint;

/// The first two bytes are the number of data bytes, the rest the header.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::uint64_t data_bytes = data[0] | static_cast<std::uint64_t>(data[1]) << 8;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const auto header = checkpoint::parse_header(text, data_bytes);
  if (!header) {
    WEFT_CHECK(header.error().code == weft::Code::Corrupt && !header.error().message.empty());
    return 0;
  }
  std::uint64_t at = 0;
  for (const checkpoint::TensorInfo& t : header->tensors) {
    WEFT_CHECK(t.begin == at && t.end >= t.begin);
    WEFT_CHECK(*checkpoint::num_elements(t.shape) * checkpoint::bytes_of(t.dtype) ==
               t.end - t.begin);
    at = t.end;
  }
  WEFT_CHECK(at == data_bytes);
  const std::string again = checkpoint::format_header(header->tensors, header->metadata);
  const auto back = checkpoint::parse_header(std::string_view(again).substr(8), data_bytes);
  WEFT_CHECK(back && back->tensors.size() == header->tensors.size(), "does not survive rewriting");
  return 0;
}

std::vector<std::string> weft::fuzz::seed_inputs() {
  const auto sized = [](int bytes, const std::string& text) {
    return std::string{static_cast<char>(bytes & 0xff), static_cast<char>(bytes >> 8)} + text;
  };
  return {sized(0, "{}"), sized(0, R"({"__metadata__":{"format":"pt","k":"v"}})"),
          sized(24, R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})"),
          sized(300, R"({"__metadata__":{"format":"pt"},"w":{"dtype":"BF16","shape":[4,32],)"
                     R"("data_offsets":[0,256]},"e":{"dtype":"I64","shape":[0],"data_offsets":)"
                     R"([256,256]},"s":{"dtype":"F32","shape":[],"data_offsets":[256,260]},)"
                     R"("u":{"dtype":"U8","shape":[40],"data_offsets":[260,300]}}   )")};
}

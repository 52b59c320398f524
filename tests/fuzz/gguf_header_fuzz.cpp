// Any bytes as a GGUF header: refused, or every promise of parse_header holds.
#include "base/check.h"
#include "tests/fuzz/replay.h"
#include "trainer/gguf/header.h"

namespace gguf = weft::trainer::gguf;

/// The input is a whole file.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto header = gguf::parse_header(std::as_bytes(std::span(data, size)), size);
  if (!header) {
    WEFT_CHECK(header.error().code == weft::Code::Corrupt && !header.error().message.empty());
    return 0;
  }
  std::uint64_t end = 0;
  for (const gguf::TensorInfo& tensor : header->tensors) {
    WEFT_CHECK(tensor.offset >= end && header->data_start + tensor.offset + tensor.bytes <= size);
    end = tensor.offset + tensor.bytes;
  }
  for (const auto& [key, value] : header->keys) (void)gguf::to_string(value);
  // Written with our alignment and version: read back, the keys are the same.
  gguf::Header again;
  again.keys = header->keys;
  const std::string text = gguf::format_header(again);
  const auto back = gguf::parse_header(std::as_bytes(std::span(text)), text.size());
  WEFT_CHECK(back && back->keys == header->keys, "keys do not survive rewriting");
  return 0;
}

std::vector<std::string> weft::fuzz::seed_inputs() {
  const auto file = [](gguf::Header header) {
    WEFT_CHECK(gguf::lay_out(header).has_value());
    std::string out = gguf::format_header(header);
    if (!header.tensors.empty())
      out.resize(header.data_start + header.tensors.back().offset + header.tensors.back().bytes);
    return out;
  };
  const std::vector<std::int32_t> types = {1, 3, 6};
  gguf::Header keys, all;
  keys.keys = {{"general.alignment", gguf::Value::u32(32)}, {"x", gguf::Value::text("y")}};
  all.keys = {{"general.architecture", gguf::Value::text("deepseek2")},
              {"tokens", gguf::Value::strings({"a", "b", "c"})},
              {"types", gguf::Value::i32s(types)},
              {"scale", gguf::Value::f32(2.5f)},
              {"norm", gguf::Value::boolean(true)}};
  all.tensors = {{"one", {32, 2}, 8, 0, 0}, {"two", {3}, 0, 0, 0}, {"three", {2, 2, 2}, 30, 0, 0}};
  return {file({}), file(keys), file(all)};
}

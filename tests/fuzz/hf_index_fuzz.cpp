// Any bytes as model.safetensors.index.json: refused, or names that stay in their directory.
#include "base/check.h"
#include "tests/fuzz/replay.h"
#include "trainer/hf/index_file.h"

namespace hf = weft::trainer::hf;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto index = hf::parse_index({reinterpret_cast<const char*>(data), size});
  if (!index) {
    WEFT_CHECK(index.error().code == weft::Code::Corrupt && !index.error().message.empty());
    return 0;
  }
  for (const auto& [tensor, file] : index->weight_map)
    WEFT_CHECK(!tensor.empty() && file.ends_with(".safetensors") &&
               file.find('/') == std::string::npos && file.front() != '.');
  const auto back = hf::parse_index(hf::format_index(*index));
  WEFT_CHECK(back && *back == *index, "does not survive rewriting");
  return 0;
}

std::vector<std::string> weft::fuzz::seed_inputs() {
  return {R"({"weight_map": {}})",
          R"({"metadata": {"total_size": 1234}, "weight_map": {"a": "model.safetensors"}})",
          R"({"metadata": {"total_size": 1.5e3, "x": [1, {"y": null}]}, "weight_map": {)"
          R"("lm_head.weight": "model-00001-of-00002.safetensors",)"
          R"("model.norm.weight": "model-00002-of-00002.safetensors"}})"};
}

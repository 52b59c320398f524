// Any bytes as a config.json: refused with a reason, or a model without contradictions that is
// written and read back as itself.
#include "base/check.h"
#include "tests/fuzz/replay.h"
#include "trainer/hf/config.h"

using namespace weft::trainer;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto parsed = hf::parse_config(text, "config.json");
  if (!parsed) {
    WEFT_CHECK(parsed.error().code == weft::Code::InvalidArgument &&
               parsed.error().message.find("config.json") != std::string::npos);
    return 0;
  }
  WEFT_CHECK(problems(parsed->config).empty());
  const auto again = hf::parse_config(hf::write_config(parsed->config), "written");
  WEFT_CHECK(again.has_value(), "what is written is read back");
  WEFT_CHECK(hf::write_config(again->config) == hf::write_config(parsed->config));
  return 0;
}

std::vector<std::string> weft::fuzz::seed_inputs() {
  ModelConfig mixture;
  mixture.yarn = {.factor = 40, .mscale_all_dim = 1};
  mixture.fp8_block_rows = mixture.fp8_block_columns = 128;
  ModelConfig student;
  student.model_type = "qwen2";
  student.kv_lora_rank = student.n_routed_experts = 0;
  student.num_key_value_heads = 2;
  student.head_dim = 16;
  student.attention_bias = student.tie_word_embeddings = true;
  return {hf::write_config(mixture), hf::write_config(student), hf::write_config({}),
          R"({"model_type": "llama", "vocab_size": 8, "hidden_size": 4, "num_hidden_layers": 1,
              "num_attention_heads": 2, "max_position_embeddings": 9, "intermediate_size": 3})"};
}

// Any bytes as a tokenizer.json: refused with a reason, or a tokenizer that gives every text back.
#include "base/check.h"
#include "tests/fuzz/replay.h"
#include "tests/trainer/tokenizer_testing.h"

namespace tokenizer = weft::trainer::tokenizer;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = tokenizer::parse_tokenizer(text, "fuzz.json");
  if (!parsed) {
    WEFT_CHECK(parsed.error().message.find("fuzz.json") != std::string::npos,
               parsed.error().message);
    return 0;
  }
  const std::string sample = "hello\xff  42 <a> \u4e2d\n";
  for (const std::int32_t id : parsed->encode(sample))
    WEFT_CHECK(id >= 0 && id < parsed->vocab_size());
  for (const std::int32_t id : parsed->encode_with_special(sample))
    WEFT_CHECK(id >= 0 && id < parsed->vocab_size());
  parsed->describe();
  return 0;
}

std::vector<std::string> weft::fuzz::seed_inputs() {
  tokenizer::SmallFile plain, rich;
  rich.added = tokenizer::added(265, "<a>", R"(,"special":true,"lstrip":true)");
  rich.normalizer = R"({"type":"NFC"})";
  rich.pre_tokenizer =
      R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\p{N}{1,3}"},"behavior":"Isolated","invert":false},{"type":"Digits","individual_digits":true},{"type":"ByteLevel","add_prefix_space":true,"use_regex":false}]})";
  rich.post_processor =
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<a>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"special_tokens":{"<a>":{"id":"<a>","ids":[265],"tokens":["<a>"]}}})";
  return {plain.text(), rich.text(), R"({"model":{"vocab":{"a":0},"merges":["a a"]}})",
          R"({"model":{"type":"BPE","vocab":{},"merges":[["a","b"]]},"added_tokens":[]})"};
}

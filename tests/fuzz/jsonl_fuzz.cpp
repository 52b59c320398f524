// Whatever the bytes of a JSONL line, reading it ends with a record or an error; it is accepted as
// JSON exactly when another reader accepts it, and that one finds the same document.
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/fuzz/replay.h"
#include "trainer/corpus/index.h"
#include "trainer/corpus/json_view.h"

namespace weft::fuzz {

std::vector<std::string> seed_inputs() {
  return {R"({"text": "a document", "meta": {"n": [1, 2.5e3, null, true]}})",
          R"({"question": "How?", "answer": "48/2 = <<48/2=24>>24\n#### 1,024"})",
          R"({"prompt": "p", "completion": "c\u00e9\ud83d\ude00\"\\", "solution": "s"})",
          R"({"data_source":"g","prompt":[{"role":"user","content":"1+1"}],)"
          R"("reward_model":{"style":"rule","ground_truth":-2}})",
          R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]})"};
}

}  // namespace weft::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace weft::trainer::corpus;
  using nlohmann::json;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)strip_calculator_marks(text);
  const auto record = parse_record(text, "text");
  if (record && record->dialect != Dialect::Text && record->completion.empty()) std::abort();
  const auto view = parse_json_view(text);
  // The other reader refuses bytes that are not UTF-8, skips a mark at the start, and refuses
  // numbers beyond a double.
  if (!is_utf8(text) || text.starts_with("\xEF\xBB\xBF")) return 0;
  const json other = json::parse(text, nullptr, false);
  if (!other.is_discarded() && !view) std::abort();
  const bool may_overflow = text.find_first_of("eE") != text.npos || size > 300;
  if (other.is_discarded() && view && !may_overflow) std::abort();
  if (other.is_discarded()) return 0;
  if (record && record->dialect == Dialect::Text && record->completion != other["text"])
    std::abort();
  return 0;
}

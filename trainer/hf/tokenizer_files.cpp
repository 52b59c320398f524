#include "trainer/hf/tokenizer_files.h"

#include <fmt/format.h>

#include "trainer/gguf/vocabulary.h"

namespace weft::trainer::hf {
namespace {

namespace byte_ids = tokenizer::byte_ids;

std::string json_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

/// [lo-hi], or the digit alone.
std::string digits(int low, int high) {
  return low == high ? std::to_string(low) : fmt::format("[{}-{}]", low, high);
}
std::string any_digits(std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += "[0-9]";
  return out;
}

/// Numbers of as many digits as `largest`, up to it.
std::string same_length(const std::string& largest) {
  std::string out;
  for (std::size_t i = 0; i < largest.size(); ++i) {
    const int digit = largest[i] - '0', low = i == 0 && largest.size() > 1 ? 1 : 0;
    if (digit - 1 >= low)
      out +=
          largest.substr(0, i) + digits(low, digit - 1) + any_digits(largest.size() - i - 1) + "|";
  }
  return out + largest;
}

std::string vocabulary(const tokenizer::ByteVocabulary& bytes) {
  // As in GGUF files; without padding no call can fail.
  const gguf::Vocabulary names = *gguf::byte_vocabulary(bytes, bytes.size());
  std::string out;
  for (std::size_t id = 0; id < names.tokens.size(); ++id) {
    if (id >= byte_ids::kBos && id <= byte_ids::kAnswerClose) continue;
    out += fmt::format("{}\n      {}: {}", out.empty() ? "" : ",", json_text(names.tokens[id]), id);
  }
  return out;
}

std::string added_tokens() {
  std::string out;
  for (std::int32_t id = byte_ids::kBos; id <= byte_ids::kAnswerClose; ++id)
    out += fmt::format(
        "{}\n    {{\"id\": {}, \"content\": {}, \"single_word\": false, \"lstrip\": false, "
        "\"rstrip\": false, \"normalized\": false, \"special\": {}}}",
        out.empty() ? "" : ",", id,
        json_text(byte_ids::kSpecials[static_cast<std::size_t>(id - byte_ids::kBos)]),
        id <= byte_ids::kEos);
  return out;
}

}  // namespace

std::string number_pattern(int largest) {
  std::string out = same_length(std::to_string(largest));
  for (std::size_t length = std::to_string(largest).size() - 1; length > 1; --length)
    out += "|[1-9]" + any_digits(length - 1);
  return largest > 9 ? out + "|[0-9]" : out;
}

std::string tokenizer_json(const tokenizer::ByteVocabulary& bytes) {
  const bool numbers = bytes.numbers > 0;
  const std::string byte_level =
      R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false})";
  const std::string split = fmt::format(
      "{{\"type\": \"Split\", \"pattern\": {{\"Regex\": {}}}, \"behavior\": "
      "\"Isolated\", \"invert\": false}}",
      json_text(numbers ? number_pattern(bytes.numbers) : ""));
  const std::string cut = numbers ? fmt::format(
                                        "{{\"type\": \"Sequence\", \"pretokenizers\": [\n"
                                        "    {},\n    {}\n  ]}}",
                                        split, byte_level)
                                  : byte_level;
  return fmt::format(
      R"({{
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": [{}
  ],
  "normalizer": null,
  "pre_tokenizer": {},
  "post_processor": null,
  "decoder": {},
  "model": {{
    "type": "BPE",
    "dropout": null,
    "unk_token": null,
    "continuing_subword_prefix": null,
    "end_of_word_suffix": null,
    "fuse_unk": false,
    "byte_fallback": false,
    "ignore_merges": {},
    "vocab": {{{}
    }},
    "merges": []
  }}
}}
)",
      added_tokens(), cut, byte_level, numbers, vocabulary(bytes));
}

std::string tokenizer_config_json(int max_length) {
  return fmt::format(
      R"({{
  "tokenizer_class": "PreTrainedTokenizerFast",
  "bos_token": {},
  "eos_token": {},
  "add_bos_token": false,
  "add_eos_token": false,
  "clean_up_tokenization_spaces": false,
  "model_max_length": {}
}}
)",
      json_text(byte_ids::kSpecials[0]), json_text(byte_ids::kSpecials[1]), max_length);
}

std::string generation_config_json(const TokenIds& ids) {
  std::string out;
  if (ids.bos >= 0) out += fmt::format("  \"bos_token_id\": {},\n", ids.bos);
  if (ids.eos >= 0) out += fmt::format("  \"eos_token_id\": {},\n", ids.eos);
  return "{\n" + out + "  \"do_sample\": true,\n  \"temperature\": 1.0\n}\n";
}

std::vector<SideFile> byte_tokenizer_files(const tokenizer::ByteVocabulary& bytes, int max_length) {
  return {{"tokenizer.json", tokenizer_json(bytes)},
          {"tokenizer_config.json", tokenizer_config_json(max_length)},
          {"generation_config.json", generation_config_json({byte_ids::kBos, byte_ids::kEos, -1})}};
}

}  // namespace weft::trainer::hf

#include "trainer/tokenizer/hf_write.h"

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "trainer/tokenizer/byte_alphabet.h"
#include "trainer/tokenizer/train.h"

namespace weft::trainer::tokenizer {
namespace {

using json = nlohmann::ordered_json;

json split(std::string_view pattern) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", pattern}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

json sequence(std::initializer_list<json> steps) {
  return {{"type", "Sequence"}, {"pretokenizers", json(steps)}};
}

// Sources: the tokenizer.json files of DeepSeek-V3, Llama 3 and Qwen2.
constexpr std::string_view kDeepSeekWords =
    "[!\"#$%&'()*+,\\-./"
    ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
constexpr std::string_view kLlama =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr std::string_view kQwen =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

}  // namespace

std::span<const std::string> pre_tokenizer_names() {
  static const std::vector<std::string> names = {"deepseek-v3", "llama-3", "qwen-2", "gpt-2"};
  return names;
}

Expected<nlohmann::json> pre_tokenizer_json(std::string_view name) {
  if (name == "deepseek-v3")
    return sequence({split("\\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(kDeepSeekWords),
                     byte_level(false)});
  if (name == "llama-3") return sequence({split(kLlama), byte_level(false)});
  if (name == "qwen-2") return sequence({split(kQwen), byte_level(false)});
  if (name == "gpt-2") return byte_level(true);
  return fail(Code::InvalidArgument, "unknown pre-tokenizer '" + std::string(name) +
                                         "'; known: " + join(pre_tokenizer_names(), ", "));
}

std::string tokenizer_json(const nlohmann::json& pre_tokenizer, std::span<const std::string> tokens,
                           std::span<const std::pair<int, int>> merges,
                           std::span<const std::string> special) {
  json added = json::array(), vocab = json::object(), pairs = json::array();
  for (std::size_t i = 0; i < special.size(); ++i)
    added.push_back({{"id", tokens.size() + i},
                     {"content", special[i]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  // An ordered object looks through its members on every access: the members are made at once.
  auto& members = vocab.get_ref<json::object_t&>();
  members.reserve(tokens.size());
  for (std::size_t id = 0; id < tokens.size(); ++id)
    static_cast<std::vector<json::object_t::value_type>&>(members).emplace_back(spell(tokens[id]),
                                                                                id);
  for (const auto& [left, right] : merges)
    pairs.push_back(spell(tokens[static_cast<std::size_t>(left)]) + " " +
                    spell(tokens[static_cast<std::size_t>(right)]));
  const json file = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", added},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", json(pre_tokenizer)},
                     {"post_processor", nullptr},
                     {"decoder",
                      {{"type", "ByteLevel"},
                       {"add_prefix_space", true},
                       {"trim_offsets", true},
                       {"use_regex", true}}},
                     {"model",
                      {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", nullptr},
                       {"end_of_word_suffix", nullptr},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"ignore_merges", false},
                       {"vocab", vocab},
                       {"merges", pairs}}}};
  return file.dump(1) + "\n";
}

std::string tokenizer_config_json(std::span<const std::string> special) {
  json file = {{"tokenizer_class", "PreTrainedTokenizerFast"},
               {"bos_token", nullptr},
               {"eos_token", nullptr},
               {"clean_up_tokenization_spaces", false}};
  if (!special.empty()) file["bos_token"] = special[0];
  if (special.size() > 1) file["eos_token"] = special[1];
  return file.dump(2) + "\n";
}

}  // namespace weft::trainer::tokenizer

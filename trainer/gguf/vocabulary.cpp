#include "trainer/gguf/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "trainer/checkpoint/strict_json.h"

namespace weft::trainer::gguf {
namespace {

namespace byte_ids = tokenizer::byte_ids;

using nlohmann::json;

std::string utf8(unsigned code) {  // below U+0800
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
}

std::string pad_name(std::size_t id) { return fmt::format("[PAD{}]", id); }

void pad(Vocabulary& vocabulary, std::size_t size) {
  while (vocabulary.tokens.size() < size) {
    vocabulary.tokens.push_back(pad_name(vocabulary.tokens.size()));
    vocabulary.types.push_back(static_cast<std::int32_t>(TokenType::Unused));
  }
}

/// A merge is "a b" in older files, ["a", "b"] in newer ones.
Expected<std::string> merge_text(const json& merge) {
  if (merge.is_string() && merge.get_ref<const std::string&>().find(' ') != std::string::npos)
    return merge.get<std::string>();
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  return fail(Code::InvalidArgument, "model.merges holds something that is no pair of texts");
}

/// Puts a token where its id says.
Expected<void> place(Vocabulary& vocabulary, const std::string& text, const json& id,
                     TokenType type) {
  if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= vocabulary.tokens.size())
    return fail(Code::InvalidArgument,
                fmt::format("token '{}' has id {}, the model has ids below {}", text, id.dump(),
                            vocabulary.tokens.size()));
  const auto at = id.get<std::size_t>();
  if (!vocabulary.tokens[at].empty() && vocabulary.tokens[at] != text)
    return fail(Code::InvalidArgument,
                fmt::format("id {} is both '{}' and '{}'", at, vocabulary.tokens[at], text));
  vocabulary.tokens[at] = text;
  vocabulary.types[at] = static_cast<std::int32_t>(type);
  return {};
}

Expected<void> read_model(const json& root, Vocabulary& vocabulary) {
  WEFT_TRY_ASSIGN(const json* const model, checkpoint::get_object(root, "model"));
  if (model->value("type", json()) != "BPE")
    return fail(Code::InvalidArgument, "model.type is no BPE: only byte-level BPE is written");
  WEFT_TRY_ASSIGN(const json* const tokens, checkpoint::get_object(*model, "vocab"));
  WEFT_TRY_ASSIGN(const json* const merges, checkpoint::get_array(*model, "merges"));
  for (const auto& [text, id] : tokens->items())
    WEFT_TRY(place(vocabulary, text, id, TokenType::Normal));
  for (const json& merge : *merges) {
    WEFT_TRY_ASSIGN(std::string text, merge_text(merge));
    vocabulary.merges.push_back(std::move(text));
  }
  const auto added = root.find("added_tokens");
  if (added == root.end() || !added->is_array()) return {};
  for (const json& token : *added) {
    if (!token.is_object() || !token.contains("id") || !token.contains("content") ||
        !token["content"].is_string())
      return fail(Code::InvalidArgument, "added_tokens holds something without id and content");
    const bool special = token.value("special", json()) == true;
    WEFT_TRY(place(vocabulary, token["content"], token["id"],
                   special ? TokenType::Control : TokenType::UserDefined));
  }
  return {};
}

/// A token's id by its text, which tokenizer_config.json writes plainly or as an object.
int named_token(const json& config, const char* key, const Vocabulary& vocabulary) {
  if (!config.contains(key)) return -1;
  const json& given = config[key];
  const json& text = given.is_object() && given.contains("content") ? given["content"] : given;
  if (!text.is_string()) return -1;
  const auto found = std::ranges::find(vocabulary.tokens, text.get<std::string>());
  return found == vocabulary.tokens.end() ? -1
                                          : static_cast<int>(found - vocabulary.tokens.begin());
}

Expected<void> read_config(std::string_view text, Vocabulary& vocabulary) {
  WEFT_TRY_ASSIGN(const json config, checkpoint::parse_json(text, {.depth = 16}));
  if (!config.is_object())
    return fail(Code::InvalidArgument, "tokenizer_config.json is no JSON object");
  vocabulary.bos = named_token(config, "bos_token", vocabulary);
  vocabulary.eos = named_token(config, "eos_token", vocabulary);
  vocabulary.add_bos = config.value("add_bos_token", json()) == true;
  const json chat = config.value("chat_template", json());
  if (chat.is_string()) vocabulary.chat_template = chat;
  return {};
}

}  // namespace

std::string byte_character(unsigned char byte) {
  // Printable bytes stand for themselves; the others, in order, for U+0100 and up.
  static const std::array<std::string, 256> kCharacters = [] {
    std::array<std::string, 256> out;
    unsigned next = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
      const bool printable =
          (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
      out[b] = utf8(printable ? b : next++);
    }
    return out;
  }();
  return kCharacters[byte];
}

Expected<Vocabulary> byte_vocabulary(const tokenizer::ByteVocabulary& bytes, int vocab_size) {
  if (vocab_size < bytes.size())
    return fail(Code::InvalidArgument,
                fmt::format("the model has {} ids, the tokenizer {}", vocab_size, bytes.size()));
  Vocabulary out;
  out.pre = "deepseek-v3";
  const auto add = [&](std::string text, TokenType type) {
    out.tokens.push_back(std::move(text));
    out.types.push_back(static_cast<std::int32_t>(type));
  };
  for (int b = 0; b < 256; ++b) {
    const bool shadowed = bytes.numbers > 0 && b >= '0' && b <= '9' && b - '0' <= bytes.numbers;
    if (shadowed)
      add(fmt::format("<0x{:02X}>", b), TokenType::Unused);
    else
      add(byte_character(static_cast<unsigned char>(b)), TokenType::Normal);
  }
  for (int id = 256; id < 262; ++id)
    add(std::string(byte_ids::kSpecials[static_cast<std::size_t>(id - byte_ids::kBos)]),
        id <= byte_ids::kEos ? TokenType::Control : TokenType::UserDefined);
  for (int n = 0; bytes.numbers > 0 && n <= bytes.numbers; ++n)
    add(std::to_string(n), TokenType::Normal);
  pad(out, static_cast<std::size_t>(vocab_size));
  out.bos = byte_ids::kBos;
  out.eos = byte_ids::kEos;
  if (bytes.numbers > 9)
    out.caveats.push_back(fmt::format(
        "whole numbers up to {} are single tokens here; a GGUF file cannot say so, and llama.cpp "
        "will write them digit by digit: give it token ids where that matters",
        bytes.numbers));
  return out;
}

Expected<Vocabulary> parse_vocabulary(std::string_view tokenizer_json,
                                      std::string_view tokenizer_config, int vocab_size) {
  const auto invalid = [](const char* file, const Error& error) {
    return fail(Code::InvalidArgument, std::string(file) + ": " + error.message);
  };
  const auto root = checkpoint::parse_json(tokenizer_json, {.depth = 32});
  if (!root) return invalid("tokenizer.json", root.error());
  if (!root->is_object()) return fail(Code::InvalidArgument, "tokenizer.json is no JSON object");
  Vocabulary out;
  out.pre = "deepseek-v3";
  out.tokens.resize(static_cast<std::size_t>(std::max(vocab_size, 0)));
  out.types.resize(out.tokens.size(), static_cast<std::int32_t>(TokenType::Unused));
  if (const auto read = read_model(*root, out); !read)
    return invalid("tokenizer.json", read.error());
  if (!tokenizer_config.empty())
    if (const auto read = read_config(tokenizer_config, out); !read)
      return invalid("tokenizer_config.json", read.error());
  for (std::size_t id = 0; id < out.tokens.size(); ++id)
    if (out.tokens[id].empty()) out.tokens[id] = pad_name(id);
  std::vector<std::string_view> sorted(out.tokens.begin(), out.tokens.end());
  std::ranges::sort(sorted);
  if (const auto twice = std::ranges::adjacent_find(sorted); twice != sorted.end())
    return fail(Code::InvalidArgument,
                "tokenizer.json: the text '" + std::string(*twice) + "' has two ids");
  return out;
}

}  // namespace weft::trainer::gguf

// A small tokenizer.json for tests: 256 bytes, a few merges and added tokens, everything else as
// wanted.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "trainer/tokenizer/byte_alphabet.h"
#include "trainer/tokenizer/hf.h"

namespace weft::trainer::tokenizer {

struct SmallFile {
  std::vector<std::string> tokens = {"he", "ll", "hell", "hello", "Ġhello", "Ġwo", "aa", "aaa"};
  std::string merges =
      R"(["h e", "l l", "he ll", "hell o", ["Ġ", "hello"], ["w", "o"], "Ġ wo", "a a", "aa a"])";
  std::string added;  // members of the list
  std::string normalizer = "null";
  std::string pre_tokenizer =
      R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true})";
  std::string post_processor = "null";
  std::string decoder = R"({"type":"ByteLevel"})";
  std::string model_extra, root_extra;  // members with a comma behind

  /// Ids: 0..255 bytes, then `tokens`, then "wo".
  std::string text() const {
    std::string vocab;
    int id = 0;
    const auto put = [&](const std::string& token) {
      if (id > 0) vocab += ",";
      for (const char c : token)
        vocab += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
      vocab.insert(vocab.size() - escaped_size(token), "\"");
      vocab += "\":" + std::to_string(id++);
    };
    for (int byte = 0; byte < 256; ++byte) {
      const char c = static_cast<char>(static_cast<unsigned char>(byte));
      put(spell(std::string_view(&c, 1)));
    }
    for (const std::string& token : tokens) put(token);
    put("wo");
    return "{" + root_extra +
           R"("version":"1.0","truncation":null,"padding":null,"added_tokens":[)" + added +
           R"(],"normalizer":)" + normalizer + R"(,"pre_tokenizer":)" + pre_tokenizer +
           R"(,"post_processor":)" + post_processor + R"(,"decoder":)" + decoder +
           R"(,"model":{"type":"BPE",)" + model_extra + R"("vocab":{)" + vocab + R"(},"merges":)" +
           merges + "}}";
  }

  Expected<Tokenizer> parse() const { return parse_tokenizer(text(), "small.json"); }

 private:
  static std::size_t escaped_size(const std::string& token) {
    std::size_t size = token.size();
    for (const char c : token) size += c == '"' || c == '\\';
    return size;
  }
};

inline std::string added(int id, const std::string& content, const std::string& flags = "") {
  return R"({"id":)" + std::to_string(id) + R"(,"content":")" + content + "\"" + flags + "}";
}

}  // namespace weft::trainer::tokenizer

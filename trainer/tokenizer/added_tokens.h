// Tokens that are found in the text as they stand, before anything is cut or merged.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft::trainer::tokenizer {

/// As in a tokenizer.json. Source: Hugging Face tokenizers, AddedToken.
struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool special = false;
  bool normalized = false;   // looked for after normalisation instead of before
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and behind it
  bool single_word = false;  // only where no word character touches it
};

/// A part of a text: a token that was found, or text. What is plain is never searched.
struct Fragment {
  std::string_view text;
  bool plain = false;
  std::int32_t token = -1;  // -1: text
};

/// Finds many contents at once: leftmost first, of those the longest. Threads: any; never changes.
class AddedTokens {
 public:
  explicit AddedTokens(std::span<const AddedToken> tokens);

  /// Appends the parts of `fragment`, which views the same text. A rejected single word stays text.
  void cut(const Fragment& fragment, std::vector<Fragment>& out) const;

  bool empty() const { return tokens_.empty(); }

 private:
  struct Node {
    std::vector<std::pair<unsigned char, std::int32_t>> next;
    std::int32_t token = -1;  // an index into tokens_
  };
  struct Match {
    std::int32_t token = -1;
    std::size_t length = 0;
  };
  Match longest_at(std::string_view text) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::array<bool, 256> begins_{};  // bytes that some content begins with
};

}  // namespace weft::trainer::tokenizer

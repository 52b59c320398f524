// UTF-8 as input that may be broken: what is a character, what is white space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace weft::trainer::tokenizer {

/// A decoded character and its bytes; length 0: `text` does not begin with a valid character
/// (overlong forms, surrogates and what lies above U+10FFFF are invalid).
struct Character {
  std::uint32_t code = 0;
  std::size_t length = 0;
};
Character first_character(std::string_view text);

/// The length of the longest valid prefix.
std::size_t valid_prefix(std::string_view text);

/// Bytes at the end that may yet become one character: 0 to 3.
std::size_t unfinished_tail(std::string_view text);

/// Unicode's White_Space, at the two ends of valid or invalid text: how many bytes of it.
std::size_t leading_space(std::string_view text);
std::size_t trailing_space(std::string_view text);

/// Does the text begin (end) with a letter, mark, digit or connector?
bool begins_with_word(std::string_view text);
bool ends_with_word(std::string_view text);

/// NFC of valid UTF-8.
std::string compose(std::string_view text);

}  // namespace weft::trainer::tokenizer

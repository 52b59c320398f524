#include "trainer/tokenizer/utf8.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace weft::trainer::tokenizer {
namespace {

unsigned at(std::string_view text, std::size_t i) { return static_cast<unsigned char>(text[i]); }

bool continues(std::string_view text, std::size_t i) {
  return i < text.size() && (at(text, i) & 0xc0) == 0x80;
}

/// How long a character with this first byte is, 0 for none.
std::size_t length_of(unsigned lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/// May `second` follow `lead`? It is what tells overlong forms, surrogates and too large codes.
bool fits(unsigned lead, unsigned second) {
  if ((second & 0xc0) != 0x80) return false;
  if (lead == 0xe0) return second >= 0xa0;
  if (lead == 0xed) return second < 0xa0;
  if (lead == 0xf0) return second >= 0x90;
  if (lead == 0xf4) return second < 0x90;
  return true;
}

bool is_space(std::uint32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0d);
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_word(std::uint32_t c) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

Character last_character(std::string_view text) {
  for (std::size_t n = 1; n <= std::min<std::size_t>(4, text.size()); ++n) {
    const Character c = first_character(text.substr(text.size() - n));
    if (c.length == n) return c;
  }
  return {};
}

}  // namespace

Character first_character(std::string_view text) {
  if (text.empty()) return {};
  const unsigned lead = at(text, 0);
  const std::size_t length = length_of(lead);
  if (length == 1) return {lead, 1};
  if (length == 0 || text.size() < length || !fits(lead, at(text, 1))) return {};
  std::uint32_t code = lead & (0xffu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if (!continues(text, i)) return {};
    code = code << 6 | (at(text, i) & 0x3f);
  }
  return {code, length};
}

std::size_t valid_prefix(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    std::uint64_t eight = 0;
    if (text.size() - i >= sizeof eight) {  // ASCII, eight bytes at a time
      std::memcpy(&eight, text.data() + i, sizeof eight);
      if ((eight & 0x8080808080808080u) == 0) {
        i += sizeof eight;
        continue;
      }
    }
    const std::size_t length = first_character(text.substr(i)).length;
    if (length == 0) return i;
    i += length;
  }
  return i;
}

std::size_t unfinished_tail(std::string_view text) {
  for (std::size_t n = 1; n <= std::min<std::size_t>(3, text.size()); ++n) {
    const std::size_t begin = text.size() - n;
    const unsigned lead = at(text, begin);
    if ((lead & 0xc0) == 0x80) continue;
    const bool may_grow = length_of(lead) > n && (n == 1 || fits(lead, at(text, begin + 1)));
    return may_grow ? n : 0;
  }
  return 0;
}

std::size_t leading_space(std::string_view text) {
  std::size_t bytes = 0;
  for (;;) {
    const Character c = first_character(text.substr(bytes));
    if (c.length == 0 || !is_space(c.code)) return bytes;
    bytes += c.length;
  }
}

std::size_t trailing_space(std::string_view text) {
  std::size_t bytes = 0;
  for (;;) {
    const Character c = last_character(text.substr(0, text.size() - bytes));
    if (c.length == 0 || !is_space(c.code)) return bytes;
    bytes += c.length;
  }
}

bool begins_with_word(std::string_view text) {
  const Character c = first_character(text);
  return c.length > 0 && is_word(c.code);
}

bool ends_with_word(std::string_view text) {
  const Character c = last_character(text);
  return c.length > 0 && is_word(c.code);
}

std::string compose(std::string_view text) {
  const bool ascii = std::all_of(text.begin(), text.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (ascii) return std::string(text);
  utf8proc_uint8_t* composed = nullptr;
  const auto length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &composed,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  // Only memory or broken UTF-8 can stop it; the text then stays as it is.
  if (length < 0) return std::string(text);
  std::string out(reinterpret_cast<const char*>(composed), static_cast<std::size_t>(length));
  std::free(composed);
  return out;
}

}  // namespace weft::trainer::tokenizer

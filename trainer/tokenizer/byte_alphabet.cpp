#include "trainer/tokenizer/byte_alphabet.h"

#include <array>
#include <cstdint>

namespace weft::trainer::tokenizer {
namespace {

constexpr int kCharacters = 512;  // every spelling is below U+0200: two bytes of UTF-8 at most

struct Alphabet {
  std::array<std::uint16_t, 256> character{};
  std::array<std::int16_t, kCharacters> byte{};
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  alphabet.byte.fill(-1);
  std::uint16_t next = 256;
  for (int b = 0; b < 256; ++b) {
    const bool itself = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    const std::uint16_t c = itself ? static_cast<std::uint16_t>(b) : next++;
    alphabet.character[static_cast<std::size_t>(b)] = c;
    alphabet.byte[c] = static_cast<std::int16_t>(b);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::string spell(std::string_view bytes) {
  std::string out;
  for (const char byte : bytes) {
    const std::uint16_t c = kAlphabet.character[static_cast<unsigned char>(byte)];
    if (c < 0x80) {
      out += static_cast<char>(c);
    } else {
      out += static_cast<char>(0xc0 | c >> 6);
      out += static_cast<char>(0x80 | (c & 0x3f));
    }
  }
  return out;
}

bool unspell(std::string_view spelling, std::string& bytes) {
  const std::size_t before = bytes.size();
  for (std::size_t i = 0; i < spelling.size(); ++i) {
    unsigned c = static_cast<unsigned char>(spelling[i]);
    if (c >= 0xc0 && c < 0xc8 && i + 1 < spelling.size())
      c = (c & 0x1f) << 6 | (static_cast<unsigned char>(spelling[++i]) & 0x3f);
    else if (c >= 0x80)
      c = kCharacters;
    if (c >= kCharacters || kAlphabet.byte[c] < 0) {
      bytes.resize(before);
      return false;
    }
    bytes += static_cast<char>(kAlphabet.byte[c]);
  }
  return true;
}

}  // namespace weft::trainer::tokenizer

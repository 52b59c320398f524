#include "trainer/data/tokenizer.h"

#include <array>

#include "base/check.h"

namespace weft::trainer::data {
namespace {

constexpr std::int32_t kFirstSpecial = 256;
constexpr std::array<std::string_view, 6> kSpecials = {"<｜begin▁of▁sentence｜>",
                                                       "<｜end▁of▁sentence｜>",
                                                       "<think>",
                                                       "</think>",
                                                       "<answer>",
                                                       "</answer>"};

/// The special token that `text` starts with, or -1. None is a prefix of another.
int special_at(std::string_view text) {
  for (std::size_t i = 0; i < kSpecials.size(); ++i)
    if (text.starts_with(kSpecials[i])) return static_cast<int>(i);
  return -1;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct NumberPrefix {
  int value = 0;
  std::size_t length = 0;  // 0: not even the first digit is a number token
};

NumberPrefix longest_number(std::string_view text, int largest) {
  NumberPrefix best;
  int value = 0;
  for (std::size_t i = 0; i < text.size() && is_digit(text[i]); ++i) {
    value = value * 10 + (text[i] - '0');
    if (value > largest) break;
    best = {value, i + 1};
    if (value == 0) break;  // a leading zero stands alone
  }
  return best;
}

}  // namespace

Expected<Tokenizer> Tokenizer::byte_level(int numbers) {
  if (numbers < 0 || numbers > kMaxNumbers)
    return fail(Code::InvalidArgument, "tokenizer.numbers is " + std::to_string(numbers) +
                                           "; it must be 0 (none) or up to " +
                                           std::to_string(kMaxNumbers));
  return Tokenizer(numbers);
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> ids;
  ids.reserve(text.size());
  while (!text.empty()) {
    std::size_t taken = 1;
    if (const int special = text[0] == '<' ? special_at(text) : -1; special >= 0) {
      ids.push_back(kFirstSpecial + special);
      taken = kSpecials[static_cast<std::size_t>(special)].size();
    } else if (const NumberPrefix prefix = longest_number(text, numbers_);
               numbers_ > 0 && prefix.length > 0) {
      ids.push_back(kFirstNumber + prefix.value);
      taken = prefix.length;
    } else {
      ids.push_back(static_cast<unsigned char>(text[0]));
    }
    text.remove_prefix(taken);
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string text;
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= vocab_size())
      text += "\xEF\xBF\xBD";
    else if (id < kFirstSpecial)
      text += static_cast<char>(static_cast<unsigned char>(id));
    else if (id < kFirstNumber)
      text += kSpecials[static_cast<std::size_t>(id - kFirstSpecial)];
    else
      text += std::to_string(id - kFirstNumber);
  }
  return text;
}

std::int32_t Tokenizer::number(int n) const {
  WEFT_CHECK(numbers_ > 0 && n >= 0 && n <= numbers_, std::to_string(n));
  return kFirstNumber + n;
}

std::string_view Tokenizer::special_text(std::int32_t id) {
  const bool special = id >= kFirstSpecial && id < kFirstNumber;
  return special ? kSpecials[static_cast<std::size_t>(id - kFirstSpecial)] : std::string_view{};
}

}  // namespace weft::trainer::data

// The tokenizer that needs no file: bytes, six special tokens and, if wanted, whole numbers as
// single tokens.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace weft::trainer::tokenizer {

/// Ids never change for a given `numbers`, and growing `numbers` only adds ids at the end:
///   0..255    bytes
///   256, 257  <｜begin▁of▁sentence｜>  <｜end▁of▁sentence｜>
///   258..261  <think>  </think>  <answer>  </answer>
///   262 + n   the whole number n, 0 <= n <= numbers (none when numbers is 0)
/// decode(encode(x)) == x for any bytes, valid UTF-8 or not. A run of digits is taken from the
/// left, each time the longest prefix that spells a number token (no leading zeros): with
/// numbers = 99, "123" is 12 3 and "007" is 0 0 7. What spells none stays bytes.
namespace byte_ids {

inline constexpr std::int32_t kBos = 256, kEos = 257, kThinkOpen = 258, kThinkClose = 259,
                              kAnswerOpen = 260, kAnswerClose = 261;
inline constexpr std::int32_t kFirstNumber = 262;
inline constexpr std::array<std::string_view, 6> kSpecials = {"<｜begin▁of▁sentence｜>",
                                                              "<｜end▁of▁sentence｜>",
                                                              "<think>",
                                                              "</think>",
                                                              "<answer>",
                                                              "</answer>"};

}  // namespace byte_ids

/// Which byte tokenizer: whole numbers to here are single tokens (0: none).
struct ByteVocabulary {
  int numbers = 0;
  int size() const { return byte_ids::kFirstNumber + (numbers > 0 ? numbers + 1 : 0); }
};
}  // namespace weft::trainer::tokenizer

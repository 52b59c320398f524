// Text to token ids and back: bytes, six special tokens and, if wanted, whole numbers as single
// tokens. No learned merges.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"

namespace weft::trainer::data {

/// A value. Ids never change for a given `numbers`, and growing `numbers` only adds ids at the end:
///   0..255    bytes
///   256, 257  <｜begin▁of▁sentence｜>  <｜end▁of▁sentence｜>
///   258..261  <think>  </think>  <answer>  </answer>
///   262 + n   the whole number n, 0 <= n <= numbers (none when numbers is 0)
/// decode(encode(x)) == x for any bytes, valid UTF-8 or not.
/// Threads: any.
class Tokenizer {
 public:
  static constexpr int kMaxNumbers = 9999;

  /// Errors: InvalidArgument when numbers is outside 0..kMaxNumbers.
  static Expected<Tokenizer> byte_level(int numbers);

  /// Special tokens are recognised wherever their text stands. A run of digits is taken from the
  /// left, each time the longest prefix that spells a number token (no leading zeros): with
  /// numbers = 99, "123" is 12 3 and "007" is 0 0 7. What spells none stays bytes.
  std::vector<std::int32_t> encode(std::string_view text) const;

  /// Ids outside the vocabulary (a model's may be padded) come out as U+FFFD.
  std::string decode(std::span<const std::int32_t> ids) const;

  int vocab_size() const { return numbers_ == 0 ? kFirstNumber : kFirstNumber + numbers_ + 1; }
  int numbers() const { return numbers_; }

  static constexpr std::int32_t bos() { return 256; }
  static constexpr std::int32_t eos() { return 257; }
  static constexpr std::int32_t think_open() { return 258; }
  static constexpr std::int32_t think_close() { return 259; }
  static constexpr std::int32_t answer_open() { return 260; }
  static constexpr std::int32_t answer_close() { return 261; }
  /// The id of a number's token; WEFT_CHECKs that there is one.
  std::int32_t number(int n) const;

  /// The text of a special token; "" for any other id.
  static std::string_view special_text(std::int32_t id);

  friend bool operator==(const Tokenizer&, const Tokenizer&) = default;

 private:
  explicit Tokenizer(int numbers) : numbers_(numbers) {}
  static constexpr std::int32_t kFirstNumber = 262;

  int numbers_;
};

}  // namespace weft::trainer::data

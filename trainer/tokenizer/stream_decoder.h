// Tokens to text one at a time, as a model writes them: a character comes out whole or not yet.
#pragma once

#include <string>

#include "trainer/tokenizer/tokenizer.h"

namespace weft::trainer::tokenizer {

/// What push() and finish() return, put together, is decode() of all ids, byte for byte. Bytes
/// that can never become a character pass at once. One thread at a time.
class StreamDecoder {
 public:
  explicit StreamDecoder(Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}

  /// What is complete now.
  std::string push(std::int32_t id);
  /// What is left: the beginning of a character whose end never came.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  std::string waiting_;  // 0 to 3 bytes between calls
};

}  // namespace weft::trainer::tokenizer

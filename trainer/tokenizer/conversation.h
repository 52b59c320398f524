// Conversations as tokens, with what is learned from them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/expected.h"
#include "trainer/tokenizer/tokenizer.h"

namespace weft::trainer::tokenizer {

struct Message {
  std::string role;  // system, user or assistant
  std::string content;
};

struct Conversation {
  std::vector<std::int32_t> tokens;
  /// One a token: true for what the assistant says, its end token included.
  std::vector<bool> loss;
};

/// Writes the messages by the tokenizer's chat template (which must be set). Words of the system
/// and of users are plain text: they cannot inject a token. An assistant's words are encoded apart
/// from what stands before them, as a rollout sees them. With `ask`, what makes the assistant
/// answer is appended. Errors: InvalidArgument for no messages, an unknown role, or a tokenizer
/// without template or end token.
Expected<Conversation> encode_conversation(const Tokenizer& tokenizer,
                                           std::span<const Message> messages, bool ask = false);

/// One question, ready for the assistant's words: the tokens before them in encode_conversation,
/// which for a template that opens a think block itself is before that.
Expected<std::vector<std::int32_t>> encode_question(const Tokenizer& tokenizer,
                                                    std::string_view question);

}  // namespace weft::trainer::tokenizer

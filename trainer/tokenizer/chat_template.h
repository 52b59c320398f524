// How a conversation is written as one text: what stands before and behind each role's words.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"

namespace weft::trainer::tokenizer {

struct ChatTemplate {
  struct Role {
    std::string prefix, suffix;
  };

  std::string name = "custom";
  bool bos = true;            // the tokenizer's begin token, where it has one, comes first
  std::string begin;          // then this, once
  std::string system_joiner;  // between several system messages
  bool system_first = false;  // all system messages stand at the front, wherever they were said
  Role system, user, assistant;
  /// The token that ends an assistant's turn and that the assistant learns to say; "": the
  /// tokenizer's end token. It stands between the assistant's words and assistant.suffix.
  std::string end_token;
  /// What asks for an answer when a conversation is to be continued; "": assistant.prefix.
  std::string generation;
  /// Assistant's turns that a user has answered keep only what follows the last </think>.
  bool forgets_thinking = false;
  /// Contents that must be tokens of the tokenizer, or the template would be spelled out.
  std::vector<std::string> tokens;
};

/// A built-in template. Errors: InvalidArgument for an unknown name, with the known ones.
///   deepseek-r1    Source: the tokenizer_config.json of DeepSeek-R1
///   chatml         Source: OpenAI's ChatML, as Qwen writes it
///   plain-r1-zero  Source: DeepSeek-R1, table 1: no role tokens, only words
Expected<ChatTemplate> chat_template(std::string_view name);
std::span<const std::string> chat_template_names();

}  // namespace weft::trainer::tokenizer

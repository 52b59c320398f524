#include "trainer/tokenizer/tokenizer.h"

namespace weft::trainer::tokenizer {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, Trust trust) const {
  const Part part{text, trust};
  return encode(std::span(&part, 1));
}

std::vector<std::int32_t> Tokenizer::encode(std::span<const Part> parts) const {
  std::vector<std::int32_t> ids;
  model_->encode(parts, ids);
  return ids;
}

std::vector<std::int32_t> Tokenizer::encode_with_special(std::string_view text) const {
  const auto prefix = model_->prefix(), suffix = model_->suffix();
  std::vector<std::int32_t> ids(prefix.begin(), prefix.end());
  const Part part{text, Trust::Control};
  model_->encode(std::span(&part, 1), ids);
  ids.insert(ids.end(), suffix.begin(), suffix.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string text;
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= vocab_size())
      text += kReplacement;
    else
      model_->decode(id, text);
  }
  return text;
}

Expected<Tokenizer> Tokenizer::with_chat(ChatTemplate chat) const {
  for (const std::string& token : chat.tokens)
    if (!added(token))
      return fail(Code::InvalidArgument,
                  "the chat template '" + chat.name + "' is made of the token " + token +
                      ", which this tokenizer does not have; take a tokenizer that has it, "
                      "plain-r1-zero, or a custom template");
  Tokenizer out = *this;
  if (!chat.end_token.empty()) {
    out.chat_end_ = added(chat.end_token);
    if (!out.chat_end_)
      return fail(Code::InvalidArgument, "the chat template '" + chat.name + "' ends turns with " +
                                             chat.end_token +
                                             ", which is no token of this tokenizer");
  }
  out.chat_ = std::move(chat);
  return out;
}

}  // namespace weft::trainer::tokenizer

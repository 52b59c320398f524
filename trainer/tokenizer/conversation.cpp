#include "trainer/tokenizer/conversation.h"

namespace weft::trainer::tokenizer {
namespace {

constexpr std::string_view kThinkClose = "</think>";

/// Collects parts, and encodes them together up to where what is learned begins or ends.
class Writer {
 public:
  explicit Writer(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void write(std::string_view text, Trust trust, bool loss) {
    if (text.empty()) return;
    if (loss != loss_) flush();
    loss_ = loss;
    parts_.push_back({text, trust});
  }
  void control(std::string_view text) { write(text, Trust::Control, false); }

  void token(std::int32_t id, bool loss) {
    flush();
    out_.tokens.push_back(id);
    out_.loss.push_back(loss);
  }

  Conversation finish() {
    flush();
    return std::move(out_);
  }

 private:
  void flush() {
    const std::vector<std::int32_t> ids = tokenizer_.encode(parts_);
    out_.tokens.insert(out_.tokens.end(), ids.begin(), ids.end());
    out_.loss.insert(out_.loss.end(), ids.size(), loss_);
    parts_.clear();
  }

  const Tokenizer& tokenizer_;
  Conversation out_;
  std::vector<Part> parts_;
  bool loss_ = false;
};

std::string_view without_thinking(std::string_view content) {
  const std::size_t at = content.rfind(kThinkClose);
  return at == std::string_view::npos ? content : content.substr(at + kThinkClose.size());
}

Expected<void> check(const Tokenizer& tokenizer, std::span<const Message> messages) {
  if (!tokenizer.chat())
    return fail(Code::InvalidArgument, "a conversation needs a chat template: chat.template");
  if (messages.empty()) return fail(Code::InvalidArgument, "the conversation has no messages");
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant")
      return fail(Code::InvalidArgument, "message " + std::to_string(i) + ": unknown role '" +
                                             role.substr(0, 40) +
                                             "'; known: system, user, assistant");
    if (role == "assistant" && tokenizer.eos() < 0)
      return fail(Code::InvalidArgument,
                  "the tokenizer has no end token for the assistant's turns: give chat.end_token");
  }
  return {};
}

void write_system_first(const ChatTemplate& chat, std::span<const Message> messages,
                        Writer& writer) {
  bool any = false;
  for (const Message& message : messages) {
    if (message.role != "system") continue;
    writer.control(any ? chat.system_joiner : chat.system.prefix);
    writer.write(message.content, Trust::Plain, false);
    any = true;
  }
  if (any) writer.control(chat.system.suffix);
}

}  // namespace

Expected<Conversation> encode_conversation(const Tokenizer& tokenizer,
                                           std::span<const Message> messages, bool ask) {
  WEFT_TRY(check(tokenizer, messages));
  const ChatTemplate& chat = *tokenizer.chat();
  Writer writer(tokenizer);
  if (chat.bos && tokenizer.bos()) writer.token(*tokenizer.bos(), false);
  writer.control(chat.begin);
  if (chat.system_first) write_system_first(chat, messages, writer);
  std::size_t last_user = 0;
  for (std::size_t i = 0; i < messages.size(); ++i)
    if (messages[i].role == "user") last_user = i;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    if (message.role == "assistant") {
      const bool shorten = chat.forgets_thinking && i < last_user;
      writer.control(chat.assistant.prefix);
      writer.write(shorten ? without_thinking(message.content) : message.content, Trust::Control,
                   true);
      writer.token(tokenizer.eos(), true);
      writer.control(chat.assistant.suffix);
    } else if (message.role == "user" || !chat.system_first) {
      const ChatTemplate::Role& role = message.role == "user" ? chat.user : chat.system;
      writer.control(role.prefix);
      writer.write(message.content, Trust::Plain, false);
      writer.control(role.suffix);
    }
  }
  if (ask) writer.control(chat.generation.empty() ? chat.assistant.prefix : chat.generation);
  return writer.finish();
}

Expected<std::vector<std::int32_t>> encode_question(const Tokenizer& tokenizer,
                                                    std::string_view question) {
  const Message message{"user", std::string(question)};
  WEFT_TRY(check(tokenizer, std::span(&message, 1)));
  const ChatTemplate& chat = *tokenizer.chat();
  Writer writer(tokenizer);
  if (chat.bos && tokenizer.bos()) writer.token(*tokenizer.bos(), false);
  for (const std::string_view text :
       {std::string_view(chat.begin), std::string_view(chat.user.prefix)})
    writer.control(text);
  writer.write(question, Trust::Plain, false);
  writer.control(chat.user.suffix);
  writer.control(chat.assistant.prefix);
  return writer.finish().tokens;
}

}  // namespace weft::trainer::tokenizer

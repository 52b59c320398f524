#include "runtime/job/tokenizer.h"

namespace weft::runtime {
namespace {

using trainer::tokenizer::ChatTemplate;
using trainer::tokenizer::Tokenizer;

Expected<Tokenizer> open_kind(const TokenizerJob& job) {
  if (job.kind == "byte") return Tokenizer::byte_level(job.numbers);
  auto loaded = Tokenizer::load(job.path);
  if (!loaded) return fail_in("tokenizer.path", loaded.error());
  return loaded;
}

Expected<ChatTemplate> chat_of(const ChatJob& job) {
  if (job.template_name != "custom") return trainer::tokenizer::chat_template(job.template_name);
  ChatTemplate chat;
  chat.begin = job.begin;
  chat.system = {job.system_prefix, job.system_suffix};
  chat.user = {job.user_prefix, job.user_suffix};
  chat.assistant = {job.assistant_prefix, job.assistant_suffix};
  chat.end_token = job.end_token;
  return chat;
}

}  // namespace

Expected<Tokenizer> open_tokenizer(const Job& job) {
  WEFT_TRY_ASSIGN(Tokenizer tokenizer, open_kind(job.tokenizer));
  if (tokenizer.vocab_size() > job.model.vocab_size)
    return fail(Code::InvalidArgument,
                "model.vocab_size = " + std::to_string(job.model.vocab_size) +
                    " is smaller than the tokenizer's " + std::to_string(tokenizer.vocab_size()) +
                    " ids (" +
                    (job.tokenizer.kind == "byte"
                         ? "tokenizer.numbers = " + std::to_string(job.tokenizer.numbers)
                         : "tokenizer.path = " + job.tokenizer.path) +
                    "); " + std::to_string((tokenizer.vocab_size() + 63) / 64 * 64) +
                    " is a round width");
  if (job.chat.template_name != "none") {
    WEFT_TRY_ASSIGN(ChatTemplate chat, chat_of(job.chat));
    WEFT_TRY_ASSIGN(tokenizer, tokenizer.with_chat(std::move(chat)));
  }
  if (job.data.task != "text" && tokenizer.eos() < 0)
    return fail(Code::InvalidArgument,
                "tokenizer.path = " + job.tokenizer.path +
                    " has no end token, so no answer to data.task = " + job.data.task +
                    " would ever end; name one as eos_token in a tokenizer_config.json beside it");
  return tokenizer;
}

}  // namespace weft::runtime

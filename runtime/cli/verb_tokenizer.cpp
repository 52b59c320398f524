#include <fmt/format.h>

#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "runtime/cli/render.h"
#include "runtime/cli/verbs.h"
#include "trainer/tokenizer/conversation.h"
#include "trainer/tokenizer/train.h"

namespace weft::cli {
namespace {

using nlohmann::json;
using namespace trainer::tokenizer;

/// A token's bytes as a JSON text, in which nothing is invisible; broken characters as \\xHH.
std::string visible(const std::string& bytes) {
  const std::string text = json(bytes).dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.find("\xEF\xBF\xBD") == std::string::npos || bytes.find("\xEF\xBF\xBD") == 0)
    return text;
  std::string out = "\"";
  for (const char c : bytes)
    out += c >= 0x20 && c < 0x7f ? std::string(1, c)
                                 : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return out + "\"";
}

std::string read_all(Io& io) { return {std::istreambuf_iterator<char>(io.in), {}}; }

/// Ids with their texts; `loss` when a conversation was encoded.
json encoded(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids,
             const std::vector<bool>* loss) {
  json out = {{"ids", ids}, {"tokens", json::array()}};
  for (const std::int32_t id : ids) out["tokens"].push_back(visible(tokenizer.decode(id)));
  if (loss != nullptr)
    for (const bool one : *loss) out["loss"].push_back(one ? 1 : 0);
  return out;
}

Expected<std::vector<Message>> messages_of(const std::string& text) {
  const json list = json::parse(text, nullptr, false);
  if (!list.is_array()) return std::vector<Message>{{"user", text}};
  std::vector<Message> out;
  for (const json& message : list) {
    const bool good = message.is_object() && message.contains("role") &&
                      message["role"].is_string() && message.contains("content") &&
                      message["content"].is_string();
    if (!good)
      return fail(Code::InvalidArgument,
                  fmt::format("message {} of the conversation is not {{role, "
                              "content}} with two texts",
                              out.size()));
    out.push_back({message["role"].get<std::string>(), message["content"].get<std::string>()});
  }
  return out;
}

Expected<json> encode_one(const Tokenizer& tokenizer, const std::string& text,
                          const TokenizerEncodeOptions& options) {
  if (options.chat.empty()) {
    const auto ids = options.special
                         ? tokenizer.encode_with_special(text)
                         : tokenizer.encode(text, options.plain ? Trust::Plain : Trust::Control);
    return encoded(tokenizer, ids, nullptr);
  }
  WEFT_TRY_ASSIGN(const std::vector<Message> messages, messages_of(text));
  const bool ask = !messages.empty() && messages.back().role != "assistant";
  WEFT_TRY_ASSIGN(const Conversation conversation, encode_conversation(tokenizer, messages, ask));
  return encoded(tokenizer, conversation.tokens, &conversation.loss);
}

Expected<json> encode_given(const TokenizerEncodeOptions& options, Io& io) {
  WEFT_TRY_ASSIGN(Tokenizer tokenizer, Tokenizer::load(options.path));
  if (!options.chat.empty()) {
    WEFT_TRY_ASSIGN(ChatTemplate chat, chat_template(options.chat));
    WEFT_TRY_ASSIGN(tokenizer, tokenizer.with_chat(std::move(chat)));
  }
  return encode_one(tokenizer, options.text.empty() ? read_all(io) : options.text.front(), options);
}

/// One row a token.
std::vector<json> rows(const json& text) {
  std::vector<json> out;
  for (std::size_t i = 0; i < text["ids"].size(); ++i) {
    out.push_back({{"id", text["ids"][i]}, {"token", text["tokens"][i]}});
    if (text.contains("loss")) out.back()["loss"] = text["loss"][i];
  }
  return out;
}

Expected<std::vector<std::int32_t>> ids_of(const TokenizerDecodeOptions& options, Io& io) {
  std::vector<std::int32_t> ids;
  std::vector<long long> given = options.ids;
  if (given.empty()) {
    for (long long id = 0; io.in >> id;) given.push_back(id);
    if (!io.in.eof())
      return fail(Code::InvalidArgument,
                  fmt::format("what follows {} ids is no whole number", given.size()));
  }
  for (const long long id : given)
    ids.push_back(id < 0 || id > INT32_MAX ? -1 : static_cast<std::int32_t>(id));
  return ids;
}

Expected<int> train_files(const TokenizerTrainOptions& options) {
  std::vector<std::string> texts;
  for (const std::string& input : options.input) {
    WEFT_TRY_ASSIGN(std::string text, read_file(input));
    texts.push_back(std::move(text));
  }
  const auto special = options.special.empty() ? default_special_tokens() : options.special;
  WEFT_TRY_ASSIGN(const Trained trained, train(texts, {.vocab_size = options.vocab,
                                                       .pre_tokenizer = options.pre_tokenizer,
                                                       .special = special,
                                                       .min_count = options.min_count}));
  const std::filesystem::path directory = options.output;
  std::error_code failed;
  std::filesystem::create_directories(directory, failed);
  if (failed) return io_error("create", directory, failed.value());
  WEFT_TRY(write_file_atomically(directory / "tokenizer.json", trained.tokenizer_json));
  WEFT_TRY(
      write_file_atomically(directory / "tokenizer_config.json", trained.tokenizer_config_json));
  return trained.vocab_size;
}

json description_json(const Tokenizer& tokenizer, const Description& d) {
  json out = {{"file", d.source},
              {"kind", d.kind},
              {"vocab_size", d.vocab_size},
              {"merges", d.num_merges},
              {"components", d.components},
              {"added_tokens", json::array()},
              {"bos", tokenizer.bos() ? json(*tokenizer.bos()) : json(nullptr)},
              {"eos", tokenizer.eos() >= 0 ? json(tokenizer.eos()) : json(nullptr)}};
  for (const Description::Added& added : d.added)
    out["added_tokens"].push_back(
        {{"id", added.id}, {"content", added.content}, {"special", added.special}});
  return out;
}

std::vector<std::pair<std::string, std::string>> description_lines(const Tokenizer& tokenizer,
                                                                   const Description& d) {
  const auto named = [&](std::int32_t id) {
    return id < 0 ? std::string("none") : fmt::format("{} {}", id, visible(tokenizer.decode(id)));
  };
  std::vector<std::pair<std::string, std::string>> lines = {
      {"tokens", fmt::format("{}; model.vocab_size must be at least this", d.vocab_size)},
      {"merges", std::to_string(d.num_merges)},
      {"begin", named(tokenizer.bos().value_or(-1))},
      {"end", named(tokenizer.eos())}};
  for (const std::string& component : d.components)
    lines.emplace_back("pipeline", visible(component));
  constexpr std::size_t kShown = 24;
  for (std::size_t i = 0; i < std::min(kShown, d.added.size()); ++i)
    lines.emplace_back(d.added[i].special ? "special" : "added", named(d.added[i].id));
  if (d.added.size() > kShown)
    lines.emplace_back("",
                       fmt::format("and {} more added tokens: -o json", d.added.size() - kShown));
  return lines;
}

/// What was asked wrongly here is the command line or a file, not a job.
int report_here(const Error& error, Io& io) {
  const int code = report(error, io);
  return code == kConfiguration ? kUsage : code;
}

}  // namespace

int verb_tokenizer_show(const TokenizerShowOptions& options, Io& io) {
  const auto tokenizer = Tokenizer::load(options.path);
  if (!tokenizer) return report_here(tokenizer.error(), io);
  const Description description = tokenizer->describe();
  json object = description_json(*tokenizer, description);
  if (options.tokens && options.format != Format::Table)
    for (int id = 0; id < tokenizer->vocab_size(); ++id)
      object["tokens"].push_back(visible(tokenizer->decode(id)));
  print_object(io, options.format, "tokenizer", object, "file",
               description_lines(*tokenizer, description));
  if (options.tokens && options.format == Format::Table)
    for (int id = 0; id < tokenizer->vocab_size(); ++id)
      io.out << id << "\t" << visible(tokenizer->decode(id)) << "\n";
  return kOk;
}

int verb_tokenizer_encode(const TokenizerEncodeOptions& options, Io& io) {
  const auto text = encode_given(options, io);
  if (!text) return report_here(text.error(), io);
  if (options.format != Format::Table) {
    print_object(io, options.format, "tokens", *text, "ids", {});
    return kOk;
  }
  std::vector<Column> columns = {{"ID", [](const json& row) { return cell(row, "id"); }, true},
                                 {"TOKEN", [](const json& row) { return cell(row, "token"); }}};
  if (!options.chat.empty())
    columns.push_back({"LOSS", [](const json& row) { return cell(row, "loss"); }, true});
  print_list(io, options.format, "tokens", rows(*text), columns, "id");
  return kOk;
}

int verb_tokenizer_decode(const TokenizerDecodeOptions& options, Io& io) {
  const auto tokenizer = Tokenizer::load(options.path);
  if (!tokenizer) return report_here(tokenizer.error(), io);
  const auto ids = ids_of(options, io);
  if (!ids) return report_here(ids.error(), io);
  const std::string text = tokenizer->decode(*ids);
  if (options.format == Format::Table)
    io.out << text << (io.out_tty ? "\n" : "");
  else
    print_object(io, options.format, "text", {{"text", text}}, "text", {});
  return kOk;
}

int verb_tokenizer_train(const TokenizerTrainOptions& options, Io& io) {
  const auto size = train_files(options);
  if (!size) return report_here(size.error(), io);
  io.err << fmt::format("{} tokens in {}\n", *size, options.output);
  if (*size < options.vocab)
    io.err << fmt::format("The text has too few pairs that come {} times or more for {} tokens\n",
                          options.min_count, options.vocab);
  io.err << "Look at it with: weft tokenizer show " << options.output << "\n";
  return kOk;
}

}  // namespace weft::cli

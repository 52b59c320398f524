#include "trainer/tokenizer/chat_template.h"

#include "base/text.h"

namespace weft::trainer::tokenizer {
namespace {

ChatTemplate deepseek_r1() {
  ChatTemplate chat;
  chat.name = "deepseek-r1";
  chat.system_first = true;
  chat.system_joiner = "\n\n";
  chat.user.prefix = "<｜User｜>";
  chat.assistant.prefix = "<｜Assistant｜>";
  chat.generation = "<｜Assistant｜><think>\n";
  chat.forgets_thinking = true;
  chat.tokens = {"<｜User｜>", "<｜Assistant｜>"};
  return chat;
}

ChatTemplate chatml() {
  ChatTemplate chat;
  chat.name = "chatml";
  chat.bos = false;
  chat.system = {"<|im_start|>system\n", "<|im_end|>\n"};
  chat.user = {"<|im_start|>user\n", "<|im_end|>\n"};
  chat.assistant = {"<|im_start|>assistant\n", "\n"};
  chat.end_token = "<|im_end|>";
  chat.tokens = {"<|im_start|>", "<|im_end|>"};
  return chat;
}

ChatTemplate plain_r1_zero() {
  ChatTemplate chat;
  chat.name = "plain-r1-zero";
  chat.begin =
      "A conversation between User and Assistant. The user asks a question, and the Assistant "
      "solves it. The assistant first thinks about the reasoning process in the mind and then "
      "provides the user with the answer. The reasoning process and answer are enclosed within "
      "<think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process "
      "here </think> <answer> answer here </answer>.";
  chat.system = {" ", ""};
  chat.user = {" User: ", "."};
  chat.assistant = {" Assistant:", ""};
  return chat;
}

}  // namespace

std::span<const std::string> chat_template_names() {
  static const std::vector<std::string> names = {"deepseek-r1", "chatml", "plain-r1-zero"};
  return names;
}

Expected<ChatTemplate> chat_template(std::string_view name) {
  if (name == "deepseek-r1") return deepseek_r1();
  if (name == "chatml") return chatml();
  if (name == "plain-r1-zero") return plain_r1_zero();
  std::string message = "unknown chat template '" + std::string(name) +
                        "'; known: " + join(chat_template_names(), ", ");
  if (const std::string near = closest(name, chat_template_names()); !near.empty())
    message += " (did you mean '" + near + "'?)";
  return fail(Code::InvalidArgument, std::move(message));
}

}  // namespace weft::trainer::tokenizer

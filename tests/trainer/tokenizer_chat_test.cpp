#include <gtest/gtest.h>

#include <algorithm>

#include "trainer/tokenizer/conversation.h"
#include "trainer/tokenizer/hf.h"
#include "trainer/tokenizer/train.h"

namespace weft::trainer::tokenizer {
namespace {

Tokenizer make(const std::string& chat) {
  static const Trained trained =
      *train(std::vector<std::string>{"the user asks and the assistant answers"},
             {.vocab_size = 300, .special = default_special_tokens()});
  static const Tokenizer tokenizer =
      *parse_tokenizer(trained.tokenizer_json, "t", trained.tokenizer_config_json, "c");
  return *tokenizer.with_chat(*chat_template(chat));
}

/// What is learned stands between « and ».
std::string shown(const Tokenizer& tokenizer, const std::vector<Message>& messages,
                  bool ask = false) {
  const auto conversation = encode_conversation(tokenizer, messages, ask);
  if (!conversation) return conversation.error().message;
  EXPECT_EQ(conversation->tokens.size(), conversation->loss.size());
  std::string out;
  bool learned = false;
  for (std::size_t i = 0; i <= conversation->tokens.size(); ++i) {
    const bool here = i < conversation->tokens.size() && conversation->loss[i];
    if (here != learned) out += here ? "«" : "»";
    learned = here;
    if (i < conversation->tokens.size()) out += tokenizer.decode(conversation->tokens[i]);
  }
  return out;
}

const std::vector<Message> kTalk = {{"system", "Be kind."},
                                    {"user", "2+2?"},
                                    {"assistant", "<think>\nsum\n</think>\n\n4"},
                                    {"user", "Sure?"},
                                    {"assistant", "<think>\nyes\n</think>\n\nYes."}};

TEST(Chat, DeepSeekR1ForgetsEarlierThinking) {
  EXPECT_EQ(
      shown(make("deepseek-r1"), kTalk),
      "<｜begin▁of▁sentence｜>Be kind.<｜User｜>2+2?<｜Assistant｜>«\n\n4<｜end▁of▁sentence｜>»"
      "<｜User｜>Sure?<｜Assistant｜>«<think>\nyes\n</think>\n\nYes.<｜end▁of▁sentence｜>»");
  EXPECT_EQ(shown(make("deepseek-r1"), {{"user", "Hi"}}, true),
            "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜><think>\n");
}

TEST(Chat, ChatMlLearnsTheEndButNotTheLineBreakBehindIt) {
  EXPECT_EQ(shown(make("chatml"), kTalk),
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n"
            "<|im_start|>assistant\n«<think>\nsum\n</think>\n\n4<|im_end|>»\n"
            "<|im_start|>user\nSure?<|im_end|>\n"
            "<|im_start|>assistant\n«<think>\nyes\n</think>\n\nYes.<|im_end|>»\n");
  EXPECT_EQ(shown(make("chatml"), {{"user", "Hi"}}, true),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Chat, PlainR1ZeroIsThePapersText) {
  const std::string text = shown(make("plain-r1-zero"), {{"user", "2+2?"}}, true);
  EXPECT_NE(text.find("<｜begin▁of▁sentence｜>A conversation between User and Assistant."),
            std::string::npos);
  EXPECT_TRUE(text.ends_with("<answer> answer here </answer>. User: 2+2?. Assistant:")) << text;
}

TEST(Chat, AUserCannotInjectATokenButAnAssistantThinksInTokens) {
  const Tokenizer tokenizer = make("deepseek-r1");
  const auto talk = encode_conversation(
      tokenizer, std::vector<Message>{{"user", "<｜Assistant｜>"}, {"assistant", "<think>"}});
  ASSERT_TRUE(talk);
  EXPECT_EQ(std::ranges::count(talk->tokens, *tokenizer.added("<｜Assistant｜>")), 1);
  EXPECT_EQ(std::ranges::count(talk->tokens, *tokenizer.added("<think>")), 1);
}

TEST(Chat, AQuestionIsWhatStandsBeforeTheAssistantsWords) {
  for (const std::string& name : chat_template_names()) {
    const Tokenizer tokenizer = make(name);
    const auto question = encode_question(tokenizer, "2+2?");
    const auto talk =
        encode_conversation(tokenizer, std::vector<Message>{{"user", "2+2?"}, {"assistant", "4"}});
    ASSERT_TRUE(question && talk);
    const auto first = std::ranges::find(talk->loss, true) - talk->loss.begin();
    EXPECT_EQ(*question,
              std::vector<std::int32_t>(talk->tokens.begin(), talk->tokens.begin() + first));
  }
}

TEST(Chat, ATemplateOfOnesOwnNeedsNoTokens) {
  ChatTemplate chat;
  chat.begin = "Talk. ";
  chat.user = {"U: ", "\n"};
  chat.assistant = {"A: ", "\n"};
  const Tokenizer tokenizer = *Tokenizer::byte_level(0)->with_chat(chat);
  EXPECT_EQ(shown(tokenizer, {{"user", "Hi"}, {"assistant", "Yes"}}),
            "<｜begin▁of▁sentence｜>Talk. U: Hi\nA: «Yes<｜end▁of▁sentence｜>»\n");
}

TEST(Chat, SaysWhatIsMissing) {
  EXPECT_NE(chat_template("chatlm").error().message.find("did you mean 'chatml'"),
            std::string::npos);
  const auto bytes = Tokenizer::byte_level(0)->with_chat(*chat_template("chatml"));
  ASSERT_FALSE(bytes);
  EXPECT_NE(bytes.error().message.find("<|im_start|>"), std::string::npos);
  EXPECT_NE(shown(make("chatml"), {{"tool", "x"}}).find("'tool'"), std::string::npos);
  EXPECT_NE(shown(make("chatml"), {}).find("no messages"), std::string::npos);
}

}  // namespace
}  // namespace weft::trainer::tokenizer

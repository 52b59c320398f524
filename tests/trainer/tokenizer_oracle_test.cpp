// Ids against npm's @huggingface/tokenizers, chat templates against @huggingface/jinja.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/rng.h"
#include "trainer/tokenizer/conversation.h"
#include "trainer/tokenizer/hf.h"
#include "trainer/tokenizer/train.h"

namespace weft::trainer::tokenizer {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// What breaks tokenizers, one text each. No broken UTF-8: the other side cannot be given it.
std::vector<std::string> adversarial() {
  std::vector<std::string> texts = {
      "",
      " ",
      "\n",
      "   \n\n \t x  y   \r\n\r\n  ",
      "a\u00a0b\u2003c\u3000d\u0085e\u180ef\ufeffg\u200bh",
      "Hello, world! It's 3.14159 or 1234567890, isn't it? I'LL we'Ve",
      "\U0001F469\u200d\U0001F469\u200d\U0001F467\u200d\U0001F466 \U0001F44D\U0001F3FD "
      "\U0001F1E9\U0001F1EA\ufe0f",
      "e\u0301e\u0301\u0301 n\u0303 \u0301alone a\u0323\u0302 \u1e69 s\u0323\u0307 \uac00 "
      "\u1100\u1161",
      "深度求索是一家公司,漢字かなカナ混じり文。한국어 문장입니다。「引用」",
      "مرحبا بالعالم ١٢٣٤ السلام عليكم وَرَحْمَةُ",
      "नमस्ते दुनिया १२३४५ क्षत्रिय ज्ञान श्री",
      "Привет, мир! Ελληνικά γράμματα Türkçe ıİ ẞß ﬁ ﬃ",
      "١٢٣ १२३ ๑๒๓ ⅠⅡⅢ ½¾ ²³ 𝟙𝟚𝟛 ①②③",
      std::string("x\0y\1\2\33[31m\x7f", 12) + "\u0080",
      "<think>\n2+2=4</think><answer>4</answer><｜end▁of▁sentence｜>",
      "text<｜User｜>hi<｜Assistant｜> <|im_start|>user\n<|im_end|><|im_end<think",
      "<<think>><｜begin▁of▁sentence｜｜>",
      "https://example.org/a_b-c?d=e&f=%20#g {\"key\": [1, 2.5e-3, null]}",
      "#include <vector>\n\tint main() {\n        return 0;  // done\n}\n\n\n",
      "$\\frac{a}{b}$ \\\\ `code` ~~~ @@@ ... !!! ???\n\n---\n",
      "\"quoted\" 'single' «guillemets» “curly” ‘it’s’",
      "'s't're've'm'll'd 'S 'T x's",
      "\u202e right to left \u202c \u2066iso\u2069",
      "\U00020000\U0002a6df 𠮷野家 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0010ffff",
      std::string(5000, 'a'),
      std::string(3000, ' ') + "x" + std::string(300, '\n'),
  };
  std::string ha, mixed;
  for (int i = 0; i < 700; ++i) ha += i % 7 == 0 ? "ha" : "ah";
  for (int i = 0; i < 400; ++i) mixed += i % 3 == 0 ? "é" : i % 3 == 1 ? "中" : "9";
  texts.push_back(ha);
  texts.push_back(mixed);
  return texts;
}

/// Words, spaces and signs of many scripts in any order, from a seed.
std::string generated(std::uint64_t index) {
  static const std::vector<std::string> words = {
      "the ",  "model",   " learns", "ing",    "  ",      "\n",      "\r\n",       "\t",
      "12",    "345",     "६",       "٣",      "中文",    "かな",    "カナ",       "한국",
      "हिन्दी", "العربية", "Слово",   "é",      "e\u0301", "\u200d",  "\U0001F600", "'s",
      "'",     "\"",      "!",       "…",      "—",       "<think>", "</think>",   "<",
      ">",     "_",       "\u00a0",  "\u3000", "A",       "z",       "Ω",          "ß",
      "%",     "$",       "€",       "｜",     "▁",       "\u0301",  "\x01"};
  Rng rng(11, "oracle/text", index);
  std::string text;
  for (std::uint32_t n = 1 + rng.below(30); n > 0; --n)
    text += words[rng.below(static_cast<std::uint32_t>(words.size()))];
  return text;
}

/// A language of made-up words, in several scripts, so that there are merges to be had.
std::string training_text() {
  static const std::vector<std::vector<std::string>> syllables = {
      {"the", "re", "in", "lo", "ing", "ha", "mo", "del", "s", "er"},
      {"深", "度", "学", "习", "模", "型", "的"},
      {"на", "при", "вет", "сло", "во", "мир"},
      {"م", "ر", "ح", "با", "ال"},
      {"न", "म", "स्", "ते", "हि", "न्दी"},
      {"か", "な", "カ", "ナ"}};
  Rng rng(5, "oracle/train", 0);
  std::string text;
  for (int i = 0; i < 9000; ++i) {
    const auto& script = syllables[std::min<std::size_t>(rng.below(12), 5) % 6];
    for (std::uint32_t n = 1 + rng.below(4); n > 0; --n)
      text += script[rng.below(static_cast<std::uint32_t>(script.size()))];
    text += rng.below(9) == 0   ? ".\n"
            : rng.below(7) == 0 ? " " + std::to_string(rng.below(3000)) + " "
                                : " ";
  }
  return text;
}

/// NFC asked for, and added tokens that are looked for after it.
std::string with_nfc(const std::string& text) {
  json file = json::parse(text);
  file["normalizer"] = {{"type", "NFC"}};
  file["added_tokens"].push_back(
      {{"id", file["model"]["vocab"].size() + file["added_tokens"].size()},
       {"content", "the model"},
       {"single_word", false},
       {"lstrip", true},
       {"rstrip", true},
       {"normalized", true},
       {"special", false}});
  return file.dump();
}

class Oracle : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("node --version > /dev/null 2>&1") != 0)
      GTEST_SKIP() << "node is not installed: nothing to compare with";
    if (!fs::exists(fs::path(WEFT_ORACLE_MODULES) / "@huggingface/tokenizers"))
      GTEST_SKIP() << "no " << WEFT_ORACLE_MODULES
                   << ": run npm ci there, as deploy/test.sh does, to compare";
    directory_ = fs::temp_directory_path() / ("weft_oracle_" + std::to_string(::getpid()));
    fs::create_directories(directory_);
  }
  void TearDown() override {
    if (!directory_.empty()) fs::remove_all(directory_);
  }
  void write(const fs::path& name, const std::string& text) {
    fs::create_directories((directory_ / name).parent_path());
    ASSERT_TRUE(write_file_atomically(directory_ / name, text));
  }
  json ask() {
    const std::string command = "node " WEFT_ORACLE_SCRIPT " " WEFT_ORACLE_MODULES " " +
                                directory_.string() + " 2> " + (directory_ / "err").string();
    EXPECT_EQ(std::system(command.c_str()), 0) << read_file(directory_ / "err").value_or("");
    return json::parse(read_file(directory_ / "oracle.json").value_or("{}"), nullptr, false);
  }

  fs::path directory_;
};

TEST_F(Oracle, IdsAndTextsAreThoseOfAnotherImplementation) {
  std::vector<std::string> texts = adversarial();
  for (std::uint64_t i = 0; i < 400; ++i) texts.push_back(generated(i));
  std::vector<std::string> names(pre_tokenizer_names().begin(), pre_tokenizer_names().end());
  names.push_back("nfc");
  std::vector<Tokenizer> tokenizers;
  const std::string corpus = training_text();
  for (const std::string& name : names) {
    const auto trained =
        train(std::vector<std::string>{corpus}, {.vocab_size = 900,
                                                 .pre_tokenizer = name == "nfc" ? "qwen-2" : name,
                                                 .special = default_special_tokens()});
    ASSERT_TRUE(trained) << trained.error().message;
    const std::string file =
        name == "nfc" ? with_nfc(trained->tokenizer_json) : trained->tokenizer_json;
    write(fs::path(name) / "tokenizer.json", file);
    auto parsed = parse_tokenizer(file, name);
    ASSERT_TRUE(parsed) << parsed.error().message;
    tokenizers.push_back(*parsed);
  }
  write("texts.json", json(texts).dump());
  write("tokenizers.json", json(names).dump());
  const json oracle = ask();
  for (std::size_t t = 0; t < names.size(); ++t)
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const auto ids = tokenizers[t].encode(texts[i]);
      EXPECT_EQ(json(ids), oracle["ids"][names[t]][i]) << names[t] << ": " << json(texts[i]);
      EXPECT_EQ(tokenizers[t].decode(ids), oracle["decoded"][names[t]][i].get<std::string>());
    }
}

// The same meaning as the templates in the models' tokenizer_config.json, without their tools.
constexpr const char* kDeepSeek =
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}{% "
    "endif %}"
    "{% endfor %}{% for m in messages %}{% if m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] "
    "}}"
    "{% elif m['role'] == 'assistant' %}{% set c = m['content'] %}{% if '</think>' in c %}"
    "{% set c = c.split('</think>')[-1] %}{% endif %}"
    "{{ '<｜Assistant｜>' + c + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}";
constexpr const char* kChatMl =
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + "
    "'\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

TEST_F(Oracle, ChatTemplatesSayWhatJinjaSays) {
  const std::vector<Message> talk = {{"system", "Be kind."},
                                     {"user", "2 + 2?"},
                                     {"assistant", "<think>\nsum\n</think>\n\n4"},
                                     {"user", "  Sure?\n"}};
  json messages = json::array(), chats = json::array();
  for (const Message& m : talk) messages.push_back({{"role", m.role}, {"content", m.content}});
  for (const char* text : {kDeepSeek, kChatMl})
    chats.push_back({{"template", text},
                     {"messages", messages},
                     {"bos_token", "<｜begin▁of▁sentence｜>"},
                     {"add_generation_prompt", true}});
  write("chats.json", chats.dump());
  write("texts.json", "[]");
  write("tokenizers.json", "[]");
  const json oracle = ask();
  const auto trained = train(std::vector<std::string>{"some text"},
                             {.vocab_size = 300, .special = default_special_tokens()});
  const auto tokenizer =
      parse_tokenizer(trained->tokenizer_json, "t", trained->tokenizer_config_json, "c");
  ASSERT_TRUE(tokenizer);
  const std::vector<std::string> names = {"deepseek-r1", "chatml"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto chat = tokenizer->with_chat(*chat_template(names[i]));
    const auto ours = encode_conversation(*chat, talk, true);
    ASSERT_TRUE(ours);
    EXPECT_EQ(chat->decode(ours->tokens), oracle["rendered"][i].get<std::string>()) << names[i];
  }
}

}  // namespace
}  // namespace weft::trainer::tokenizer

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "trainer/data/text.h"
#include "trainer/tokenizer/hf.h"
#include "trainer/tokenizer/train.h"

namespace weft::trainer::data {
namespace {

TextCorpus corpus(std::string text, double fraction, int context) {
  return *TextCorpus::from_text(std::move(text), fraction, context, "test");
}

std::string numbered(int n) {
  std::string text;
  for (int i = 0; i < n; ++i) text += static_cast<char>(i % 128);
  return text;
}

TEST(TextCorpus, SaysWhatIsWrongWithBadInput) {
  EXPECT_EQ(TextCorpus::load("/nowhere/at-all.txt", 0.1, 8).error().code, Code::NotFound);
  for (const double fraction : {0.0, 1.0, -0.5, 2.0})
    EXPECT_EQ(TextCorpus::from_text(numbered(1000), fraction, 8, "x").error().code,
              Code::InvalidArgument);
  EXPECT_FALSE(TextCorpus::from_text(numbered(1000), 0.1, 0, "x"));
  const auto held_out_too_short = TextCorpus::from_text(numbered(1000), 0.1, 100, "book.txt");
  ASSERT_FALSE(held_out_too_short);
  EXPECT_NE(held_out_too_short.error().message.find("book.txt"), std::string::npos);
  EXPECT_NE(held_out_too_short.error().message.find("101"), std::string::npos);
  EXPECT_FALSE(TextCorpus::from_text("", 0.1, 1, "empty"));
  EXPECT_FALSE(TextCorpus::from_text("abc", 0.5, 2'000'000'000, "short"));
}

TEST(TextCorpus, ReadsAFile) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("weft_text_test_" + std::to_string(::getpid()) + ".txt");
  std::ofstream(path) << numbered(100);
  const auto loaded = TextCorpus::load(path, 0.2, 8);
  std::filesystem::remove(path);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->train_bytes(), 80);
  EXPECT_EQ(loaded->validation_bytes(), 20);
}

TEST(TextCorpus, TrainingWindowsAreRunsOfTheTrainingPart) {
  const TextCorpus text = corpus(numbered(100), 0.2, 8);
  std::set<std::int32_t> begins;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const auto window = text.window(1, 0, i);
    ASSERT_EQ(window.size(), 9u);
    for (std::size_t t = 1; t < window.size(); ++t) EXPECT_EQ(window[t], window[t - 1] + 1);
    EXPECT_LT(window.back(), 80);
    begins.insert(window.front());
  }
  EXPECT_EQ(begins.size(), 72u);  // every offset that fits is reached
  EXPECT_EQ(text.window(1, 2, 3), text.window(1, 2, 3));
}

TEST(TextCorpus, ValidationPredictsEveryHeldOutByteButTheFirstOnce) {
  for (int held_out = 9; held_out < 40; ++held_out) {
    const TextCorpus text = corpus(numbered(100), held_out / 100.0, 8);
    std::vector<std::int32_t> predicted;
    for (int i = 0; i < text.num_validation_windows(); ++i) {
      const auto window = text.validation_window(i);
      ASSERT_GE(window.size(), 2u);
      ASSERT_LE(window.size(), 9u);
      predicted.insert(predicted.end(), window.begin() + 1, window.end());
    }
    ASSERT_EQ(static_cast<std::int64_t>(predicted.size()), text.validation_bytes() - 1);
    for (std::size_t i = 0; i < predicted.size(); ++i)
      EXPECT_EQ(predicted[i],
                static_cast<std::int32_t>(text.train_bytes()) + 1 + static_cast<int>(i));
  }
}

TEST(TextCorpus, CutsBetweenCharacters) {
  std::string text;
  for (int i = 0; i < 50; ++i) text += "\xE2\x82\xAC";  // three bytes each
  for (const double fraction : {0.30, 0.31, 0.32, 0.33, 0.34}) {
    const TextCorpus euros = corpus(text, fraction, 4);
    EXPECT_EQ(euros.train_bytes() % 3, 0);
    EXPECT_EQ(euros.validation_window(0).front(), 0xE2);
  }
}

TEST(TextCorpus, BytesThatAreNotUtf8AreTextToo) {
  const TextCorpus text = corpus(std::string(100, '\x80'), 0.5, 4);
  EXPECT_EQ(text.train_bytes() + text.validation_bytes(), 100);
  EXPECT_EQ(text.validation_window(0).front(), 0x80);
}

TEST(TextCorpus, CountsCharactersForTheLoss) {
  EXPECT_EQ(count_characters("abc"), 3);
  EXPECT_EQ(count_characters("a\xC3\xA4\xE2\x82\xAC"), 3);
  EXPECT_EQ(corpus(numbered(100), 0.2, 4).validation_bytes_per_character(), 1.0);
  std::string text;
  for (int i = 0; i < 100; ++i) text += "\xC3\xA4";
  EXPECT_NEAR(corpus(text, 0.5, 4).validation_bytes_per_character(), 2.0, 0.05);
}

TEST(TextCorpus, WithATokenizerEveryHeldOutByteButTheFirstTokensIsPredictedOnce) {
  std::string text;
  for (int i = 0; i < 400; ++i)
    text += "the weft of thread " + std::to_string(i % 7) + " <think>\n";
  const auto trained =
      tokenizer::train(std::vector<std::string>{text},
                       {.vocab_size = 320, .special = tokenizer::default_special_tokens()});
  const auto bpe = tokenizer::parse_tokenizer(trained->tokenizer_json, "t");
  const auto held = TextCorpus::from_text(text, 0.25, 16, "test", &*bpe);
  ASSERT_TRUE(held) << held.error().message;
  std::string predicted;
  for (int i = 0; i < held->num_validation_windows(); ++i) {
    auto window = held->validation_window(i);
    window.erase(window.begin());
    predicted += bpe->decode(window);
  }
  EXPECT_EQ(static_cast<std::int64_t>(predicted.size()), held->predicted_bytes());
  EXPECT_TRUE(text.ends_with(predicted));
  EXPECT_EQ(held->window(1, 2, 3).size(), 17u);
  for (const std::int32_t id : held->window(1, 2, 3)) EXPECT_NE(id, *bpe->added("<think>"));
  EXPECT_FALSE(TextCorpus::from_text("short", 0.5, 16, "short", &*bpe));
}

}  // namespace
}  // namespace weft::trainer::data

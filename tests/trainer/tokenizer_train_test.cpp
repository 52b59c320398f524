#include <gtest/gtest.h>

#include "trainer/tokenizer/hf.h"
#include "trainer/tokenizer/train.h"

namespace weft::trainer::tokenizer {
namespace {

using Texts = std::vector<std::string>;

Tokenizer read(const Trained& trained) {
  auto parsed =
      parse_tokenizer(trained.tokenizer_json, "t.json", trained.tokenizer_config_json, "c.json");
  EXPECT_TRUE(parsed) << parsed.error().message;
  return *parsed;
}

TEST(Train, MergesTheMostFrequentPairFirstAndOfEqualOnesTheSmaller) {
  // " c" comes four times, "ab" three times, and then every pair twice.
  const auto trained =
      train(Texts{"ab ab ab cd cd ce ce"}, {.vocab_size = 259, .special = {}, .min_count = 2});
  ASSERT_TRUE(trained) << trained.error().message;
  const Tokenizer tokenizer = read(*trained);
  EXPECT_EQ(tokenizer.decode(256), " c");
  EXPECT_EQ(tokenizer.decode(257), "ab");
  EXPECT_EQ(tokenizer.decode(258), " ab");
}

TEST(Train, TheSameTextGivesTheSameTokenizer) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "word" + std::to_string(i * i % 97) + " weaves ";
  const TrainOptions options{.vocab_size = 400, .special = default_special_tokens()};
  const auto a = train(Texts{text}, options), b = train(Texts{text}, options);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->tokenizer_json, b->tokenizer_json);
  const Tokenizer tokenizer = read(*a);
  EXPECT_EQ(tokenizer.vocab_size(), a->vocab_size);
  EXPECT_EQ(tokenizer.bos(), tokenizer.added("<｜begin▁of▁sentence｜>"));
  EXPECT_EQ(tokenizer.eos(), tokenizer.added("<｜end▁of▁sentence｜>"));
  EXPECT_EQ(tokenizer.encode(" weaves").size(), 1u);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
}

TEST(Train, StopsWhereThePairsAreTooRare) {
  const auto trained = train(Texts{"abab c"}, {.vocab_size = 5000, .special = {}, .min_count = 2});
  ASSERT_TRUE(trained);
  EXPECT_EQ(trained->vocab_size, 257) << "ab comes twice, every other pair once";
}

TEST(Train, EveryPreTokenizerThatItWritesItAlsoReads) {
  for (const std::string& name : pre_tokenizer_names()) {
    const auto trained = train(Texts{"It's 12345 words\n\n  in 中文 and हिन्दी \xff!"},
                               {.vocab_size = 300, .pre_tokenizer = name, .min_count = 1});
    ASSERT_TRUE(trained) << trained.error().message;
    const std::string text = "It's 12345 words";
    EXPECT_EQ(read(*trained).decode(read(*trained).encode(text)), text) << name;
  }
}

TEST(Train, RefusesWhatCannotBe) {
  for (const TrainOptions& options :
       {TrainOptions{.vocab_size = 100}, TrainOptions{.vocab_size = 1 << 22},
        TrainOptions{.pre_tokenizer = "gpt-5"}, TrainOptions{.special = {"<a>", "<a>"}},
        TrainOptions{.special = {"x"}}, TrainOptions{.special = {"\xff\xff"}}})
    EXPECT_EQ(train(Texts{"text"}, options).error().code, Code::InvalidArgument);
}

}  // namespace
}  // namespace weft::trainer::tokenizer

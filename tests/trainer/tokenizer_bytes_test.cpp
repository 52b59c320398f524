#include <gtest/gtest.h>

#include "base/rng.h"
#include "trainer/tokenizer/tokenizer.h"

namespace weft::trainer::tokenizer {
namespace {

using Ids = std::vector<std::int32_t>;

Tokenizer make(int numbers) { return *Tokenizer::byte_level(numbers); }

TEST(Tokenizer, RefusesMoreNumbersThanItHasRoomFor) {
  EXPECT_EQ(Tokenizer::byte_level(-1).error().code, Code::InvalidArgument);
  EXPECT_EQ(Tokenizer::byte_level(10000).error().code, Code::InvalidArgument);
  EXPECT_TRUE(Tokenizer::byte_level(9999));
}

TEST(Tokenizer, WastesNoIds) {
  EXPECT_EQ(make(0).vocab_size(), 262);
  EXPECT_EQ(make(99).vocab_size(), 362);
}

TEST(Tokenizer, KeepsItsDocumentedIds) {
  EXPECT_EQ(make(99).encode("<｜begin▁of▁sentence｜><think>3 11</think><answer>99</answer>"
                            "<｜end▁of▁sentence｜>"),
            (Ids{256, 258, 262 + 3, ' ', 262 + 11, 259, 260, 262 + 99, 261, 257}));
  EXPECT_EQ(make(99).encode("7"), (Ids{269}));
  EXPECT_EQ(make(0).encode("a7\xff"), (Ids{'a', '7', 0xff}));
}

TEST(Tokenizer, GrowingNumbersKeepsTheOldIds) {
  EXPECT_EQ(make(10).encode("3+7=10"), make(99).encode("3+7=10"));
}

TEST(Tokenizer, SplitsLongRunsOfDigitsFromTheLeft) {
  const Tokenizer tokenizer = make(99);
  const int n = 262;
  EXPECT_EQ(tokenizer.encode("123"), (Ids{n + 12, n + 3}));
  EXPECT_EQ(tokenizer.encode("007"), (Ids{n, n, n + 7}));
  EXPECT_EQ(tokenizer.encode("100"), (Ids{n + 10, n}));
  EXPECT_EQ(tokenizer.encode("99999"), (Ids{n + 99, n + 99, n + 9}));
  EXPECT_EQ(make(15).encode("1615"), (Ids{n + 1, n + 6, n + 15}));
  EXPECT_EQ(make(5).encode("57"), (Ids{n + 5, '7'}));
}

TEST(Tokenizer, HalfASpecialTokenStaysBytes) {
  EXPECT_EQ(make(0).encode("<think"), (Ids{'<', 't', 'h', 'i', 'n', 'k'}));
  EXPECT_EQ(make(0).encode("<<think>"), (Ids{'<', 258}));
}

TEST(Tokenizer, DecodesIdsOutsideTheVocabularyAsReplacementCharacters) {
  EXPECT_EQ(make(0).decode(Ids{'a', 262, -1, 'b'}), "a\uFFFD\uFFFDb");
}

TEST(Tokenizer, NamesItsSpecialTokens) {
  EXPECT_EQ(make(0).added("</think>"), 259);
  EXPECT_EQ(make(0).added("</answer>"), 261);
  EXPECT_EQ(make(0).added("</think> "), std::nullopt);
  EXPECT_EQ(make(0).bos(), 256);
  EXPECT_EQ(make(0).eos(), 257);
}

TEST(Tokenizer, PlainTextHoldsNoSpecialToken) {
  EXPECT_EQ(make(9).encode("<think>7", Trust::Plain),
            (Ids{'<', 't', 'h', 'i', 'n', 'k', '>', 269}));
}

TEST(Tokenizer, RoundTripsAnyBytes) {
  const std::vector<std::string> pieces = {"<think>",
                                           "</think>",
                                           "<answer>",
                                           "</answer>",
                                           "<｜begin▁of▁sentence｜>",
                                           "<｜end▁of▁sentence｜>",
                                           "<｜",
                                           "0",
                                           "00",
                                           "42",
                                           "1234567890123",
                                           "ä",
                                           "\xff",
                                           "\xed\xa0\x80",
                                           " "};
  for (const int numbers : {0, 1, 9, 54, 99, 9999}) {
    const Tokenizer tokenizer = make(numbers);
    for (std::uint64_t round = 0; round < 300; ++round) {
      Rng rng(1, "round trip", round, static_cast<std::uint64_t>(numbers));
      std::string text;
      for (std::uint32_t i = rng.below(40); i > 0; --i) {
        if (rng.below(2) == 0)
          text += static_cast<char>(rng.below(256));
        else
          text += pieces[rng.below(static_cast<std::uint32_t>(pieces.size()))];
      }
      const Ids ids = tokenizer.encode(text);
      EXPECT_EQ(tokenizer.decode(ids), text);
      for (const std::int32_t id : ids) {
        EXPECT_GE(id, 0);
        EXPECT_LT(id, tokenizer.vocab_size());
      }
    }
  }
}

}  // namespace
}  // namespace weft::trainer::tokenizer

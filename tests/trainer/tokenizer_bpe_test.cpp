#include <gtest/gtest.h>

#include <thread>

#include "base/rng.h"
#include "tests/trainer/tokenizer_testing.h"
#include "trainer/tokenizer/merges.h"
#include "trainer/tokenizer/pre_tokenizer.h"
#include "trainer/tokenizer/stream_decoder.h"
#include "trainer/tokenizer/utf8.h"

namespace weft::trainer::tokenizer {
namespace {

using Ids = std::vector<std::int32_t>;
constexpr int kHello = 259, kSpaceHello = 260, kSpaceWo = 261, kAaa = 263, kFirstAdded = 265;

Tokenizer make(const SmallFile& file) {
  auto made = file.parse();
  EXPECT_TRUE(made) << made.error().message;
  return *made;
}

std::vector<std::string> pieces(const std::string& pattern, const std::string& text,
                                Behavior behavior = Behavior::Isolated, bool invert = false) {
  auto regex = Regex::compile(pattern);
  EXPECT_TRUE(regex) << regex.error().message;
  PreTokenizer pre_tokenizer;
  pre_tokenizer.add({*regex, behavior, invert});
  std::vector<std::string> out;
  pre_tokenizer.run(text, [&](std::string_view piece) { out.emplace_back(piece); });
  return out;
}
using Pieces = std::vector<std::string>;

TEST(Bpe, MergesByRankThenFromTheLeft) {
  const Tokenizer tokenizer = make({});
  EXPECT_EQ(tokenizer.encode("hello hello world"),
            (Ids{kHello, kSpaceHello, kSpaceWo, 'r', 'l', 'd'}));
  EXPECT_EQ(tokenizer.encode("aaaaa"), (Ids{262, kAaa}));
  EXPECT_EQ(tokenizer.vocab_size(), kFirstAdded);
}

/// The definition, without any cleverness.
void merge_slowly(const std::vector<std::array<int, 3>>& rules, Ids& ids) {
  for (std::size_t rank = 0; rank < rules.size();) {
    bool found = false;
    for (std::size_t i = 0; i + 1 < ids.size() && !found; ++i)
      if (ids[i] == rules[rank][0] && ids[i + 1] == rules[rank][1]) {
        ids[i] = rules[rank][2];
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        found = true;
      }
    rank = found ? 0 : rank + 1;
  }
}

TEST(Bpe, ScanningAndQueuedMergesAreTheDefinition) {
  for (std::uint64_t round = 0; round < 60; ++round) {
    Rng rng(3, "merges", round);
    std::vector<std::array<int, 3>> rules;
    Merges merges(40);
    for (int id = 4; id < 44; ++id) {
      const int a = static_cast<int>(rng.below(static_cast<std::uint32_t>(id)));
      const int b = static_cast<int>(rng.below(static_cast<std::uint32_t>(id)));
      if (merges.add(a, b, id)) rules.push_back({a, b, id});
    }
    for (const std::uint32_t length : {1u, 2u, 9u, 63u, 64u, 65u, 300u}) {
      Ids ids;
      for (std::uint32_t i = 0; i < length; ++i) ids.push_back(static_cast<int>(rng.below(4)));
      Ids slow = ids;
      merge_slowly(rules, slow);
      merges.apply(ids);
      ASSERT_EQ(ids, slow) << "round " << round << ", length " << length;
    }
  }
}

TEST(Bpe, AVeryLongWordTakesNoVeryLongTime) {
  const Tokenizer tokenizer = make({});
  const std::string word(300'000, 'a');
  EXPECT_EQ(tokenizer.encode(word).size(), 150'000u);
}

TEST(Bpe, IgnoreMergesTakesWholeTokensFirst) {
  SmallFile file;
  file.merges = R"(["h e"])";
  EXPECT_EQ(make(file).encode("hello"), (Ids{256, 'l', 'l', 'o'}));
  file.model_extra = "\"ignore_merges\":true,";
  EXPECT_EQ(make(file).encode("hello"), (Ids{kHello}));
}

TEST(Bpe, AddedTokensComeBeforeEverythingLongestFirst) {
  SmallFile file;
  file.added = added(265, "<a>", R"(,"special":true)") + "," +
               added(266, "<a><b>", R"(,"special":true)") + "," +
               added(267, "[x]", R"(,"lstrip":true,"rstrip":true)") + "," +
               added(268, "word", R"(,"single_word":true)");
  const Tokenizer tokenizer = make(file);
  EXPECT_EQ(tokenizer.encode("hello<a><b><a>"), (Ids{kHello, 266, 265}));
  EXPECT_EQ(tokenizer.encode("hello  [x] \u3000hello"), (Ids{kHello, 267, kHello}));
  EXPECT_EQ(tokenizer.encode("word words").front(), 268);
  EXPECT_EQ(tokenizer.encode("word words").size(), 5u) << "a single word inside another is text";
  EXPECT_EQ(tokenizer.encode("<a>", Trust::Plain).size(), 3u);
  EXPECT_EQ(tokenizer.decode(Ids{265, 267, 999, -1}), "<a>[x]\uFFFD\uFFFD");
}

TEST(Bpe, PartsAreOneTextButAddedTokensStayInside) {
  SmallFile file;
  file.added = added(265, "<a>", R"(,"special":true)");
  const Tokenizer tokenizer = make(file);
  const std::vector<Part> parts = {
      {"he", Trust::Control}, {"llo<a", Trust::Plain}, {"><a>", Trust::Control}};
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(parts)), "hello<a><a>");
  EXPECT_EQ(tokenizer.encode(parts).front(), kHello);
  EXPECT_EQ(tokenizer.encode(parts).back(), 265);
  EXPECT_EQ(tokenizer.encode(parts).size(), 5u);
}

TEST(Bpe, ComposesWhenTheFileAsksForIt) {
  SmallFile file;
  file.normalizer = R"({"type":"Sequence","normalizers":[{"type":"NFC"}]})";
  const Tokenizer tokenizer = make(file);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("e\u0301\xff")), "\u00e9\xff");
}

TEST(Bpe, RoundTripsAnyBytes) {
  SmallFile file;
  file.added = added(265, "<a>", R"(,"special":true)");
  const Tokenizer tokenizer = make(file);
  for (std::uint64_t round = 0; round < 300; ++round) {
    Rng rng(1, "bytes", round);
    std::string text;
    for (std::uint32_t i = rng.below(60); i > 0; --i)
      text += rng.below(4) == 0 ? std::string("<a>")
                                : std::string(1, static_cast<char>(rng.below(256)));
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

TEST(Bpe, ThreadsMayShareOne) {
  const Tokenizer tokenizer = make({});
  std::string text;
  for (int i = 0; i < 400; ++i) text += "hello " + std::string(static_cast<std::size_t>(i), 'a');
  const Ids expected = tokenizer.encode(text);
  std::vector<Ids> got(3);
  std::vector<std::thread> threads;
  for (Ids& ids : got) threads.emplace_back([&] { ids = tokenizer.encode(text); });
  for (std::thread& thread : threads) thread.join();
  for (const Ids& ids : got) EXPECT_EQ(ids, expected);
}

TEST(StreamDecoder, NeverEmitsHalfACharacter) {
  const Tokenizer tokenizer = make({});
  StreamDecoder stream(tokenizer);
  std::string text;
  for (const std::int32_t id : tokenizer.encode("a\u00e9\u4e2d\U0001F469\u200d")) {
    const std::string out = stream.push(id);
    EXPECT_EQ(valid_prefix(out), out.size());
    text += out;
  }
  EXPECT_EQ(text, "a\u00e9\u4e2d\U0001F469\u200d");
}

TEST(StreamDecoder, PutTogetherIsTheWholeText) {
  const Tokenizer tokenizer = make({});
  for (std::uint64_t round = 0; round < 200; ++round) {
    Rng rng(1, "stream", round);
    std::string bytes, out;
    for (int i = 0; i < 12; ++i)
      bytes += static_cast<char>(rng.below(2) ? 0x80 + rng.below(128) : rng.below(256));
    StreamDecoder stream(tokenizer);
    for (const std::int32_t id : tokenizer.encode(bytes)) out += stream.push(id);
    EXPECT_EQ(out + stream.finish(), bytes);
  }
}

TEST(Split, KeepsDropsOrJoinsWhatMatches) {
  EXPECT_EQ(pieces("-", "a-b--c"), (Pieces{"a", "-", "b", "-", "-", "c"}));
  EXPECT_EQ(pieces("-", "a-b--c", Behavior::Removed), (Pieces{"a", "b", "c"}));
  EXPECT_EQ(pieces("-", "a-b--c", Behavior::MergedWithPrevious), (Pieces{"a-", "b-", "-", "c"}));
  EXPECT_EQ(pieces("-", "a-b--c", Behavior::MergedWithNext), (Pieces{"a", "-b", "-", "-c"}));
  EXPECT_EQ(pieces("-", "a-b--c", Behavior::Contiguous), (Pieces{"a", "-", "b", "--", "c"}));
  EXPECT_EQ(pieces("[a-z]+", "ab-c", Behavior::Removed, true), (Pieces{"ab", "c"}));
  EXPECT_EQ(pieces("x*", "axxb"), (Pieces{"a", "xx", "b"})) << "empty matches cut nothing";
}

TEST(Regex, ReadsWhatOnigurumaWouldRead) {
  EXPECT_EQ(pieces("\\s+", "a \u180e\u3000b"), (Pieces{"a", " ", "\u180e", "\u3000", "b"}));
  EXPECT_EQ(pieces("[^\\S\\n]+", "a \nb"), (Pieces{"a", " ", "\nb"}));
  EXPECT_EQ(pieces("\\p{Han}", "\u4e2d\u3001"), (Pieces{"\u4e2d", "\u3001"}));
  EXPECT_EQ(pieces("\\p{Han}", "\u3001\u3001").size(), 1u) << "a script, not its extensions";
  EXPECT_EQ(pieces("\\v", "a\vb\u2028"), (Pieces{"a", "\v", "b\u2028"}));
  EXPECT_EQ(pieces("\\u4e2d{,2}x", "\u4e2d\u4e2d\u4e2dx"), (Pieces{"\u4e2d", "\u4e2d\u4e2dx"}));
  EXPECT_EQ(pieces("\\d", "a\u0663b"), (Pieces{"a", "\u0663", "b"}));
}

TEST(Regex, RefusesWhatTheTwoReadDifferently) {
  for (const char* pattern : {"\\w+", "\\bx", "\\h", "[[:alpha:]]", "[a[b]]", "[a&&b]", "x{1,3}+",
                              "x{2}?", "a(?i)b", "(?m:.)", "(?<n>x)", "(*UTF)x", "\\1",
                              "\\p{Nonsense}", "[a", "(a", "", "\\p{IsL u}", "\\"}) {
    const auto regex = Regex::compile(pattern);
    ASSERT_FALSE(regex) << pattern;
    EXPECT_EQ(regex.error().code, Code::InvalidArgument);
    EXPECT_FALSE(regex.error().message.empty());
  }
}

TEST(Regex, AHopelessPatternEnds) {
  EXPECT_EQ(pieces("(x+x+)+[yz]", std::string(40, 'x')).size(), 1u);
}

}  // namespace
}  // namespace weft::trainer::tokenizer

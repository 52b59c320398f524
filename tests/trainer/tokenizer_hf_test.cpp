#include <gtest/gtest.h>

#include <chrono>

#include "tests/trainer/tokenizer_testing.h"

namespace weft::trainer::tokenizer {
namespace {

/// Refused, with a message that has all of `words`.
void expect_refused(const SmallFile& file, std::vector<std::string> words,
                    std::string_view broken = {}) {
  const auto parsed = parse_tokenizer(broken.empty() ? file.text() : std::string(broken), "t.json");
  ASSERT_FALSE(parsed) << words.front();
  words.push_back("t.json");
  for (const std::string& word : words)
    EXPECT_NE(parsed.error().message.find(word), std::string::npos)
        << "'" << word << "' in: " << parsed.error().message;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(TokenizerFile, NamesTheFileAndTheFieldThatIsWrong) {
  const std::string good = SmallFile().text();
  EXPECT_TRUE(parse_tokenizer(good, "t.json"));
  for (const auto& [from, to, words] :
       std::vector<std::tuple<std::string, std::string, std::vector<std::string>>>{
           {"\"h e\"", "\"h x1\"", {"model.merges[0]", "'x1'", "no token"}},
           {"\"h e\"", "\"he\"", {"model.merges[0]"}},
           {"\"h e\"", "\"h e l\"", {"model.merges[0]"}},
           {"\"h e\"", "7", {"model.merges[0]"}},
           {"\"h e\"", "{}", {"model.merges[0]"}},
           {"\"l l\"", "\"h e\"", {"model.merges[1]", "twice"}},
           {"[\"Ġ\", \"hello\"]", "[\"Ġ\"]", {"model.merges[4]", "pair"}},
           {"[\"Ġ\", \"hello\"]", "[\"Ġ\",\"h\",\"i\"]", {"model.merges[4]"}},
           {"\"he\":256", "\"he\":255", {"'he'", "255"}},
           {"\"he\":256", "\"he\":-1", {"'he'", "-1"}},
           {"\"he\":256", "\"he\":99999999999", {"'he'"}},
           {"\"he\":256", "\"he\":\"x\"", {"'he'", "number"}},
           {"\"he\":256", "\"he\":{}", {"'he'"}},
           {"\"he\":256", "\"h\":256", {"'h'", "twice"}},
           {"\"wo\":264", "\"wo\":300", {"264", "holes"}},
           {"\"version\":\"1.0\"", "\"padding\":{\"x\":1}", {"padding", "twice"}},
           {"\"truncation\":null", "\"truncation\":{\"max_length\":3}", {"truncation"}},
           {"\"version\"", "\"surprise\"", {"surprise"}},
           {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", {"model.type", "Unigram"}},
           {"\"type\":\"BPE\"", "\"byte_fallback\":true", {"model.byte_fallback"}},
           {"\"type\":\"BPE\"", "\"dropout\":0.1", {"model.dropout"}},
           {"\"type\":\"BPE\"", "\"end_of_word_suffix\":\"</w>\"", {"model.end_of_word_suffix"}},
           {"\"type\":\"BPE\"", "\"unk_token\":\"<unk>\"", {"model.unk_token", "<unk>"}},
           {"\"type\":\"BPE\"", "\"unk_token\":5", {"model.unk_token"}},
           {"\"merges\"", "\"mergers\"", {"model.mergers"}},
           {"\"!\":33", "\"!!\":33", {"0x21", "'!'"}},
           {"}}", "}", {"JSON", "byte"}},
           {"\"h e\"", "\"\xff\"", {"JSON", "byte"}}})
    expect_refused({}, words, replaced(good, from, to));
  expect_refused({}, {"not a JSON object"}, "[]");
  expect_refused({}, {"model"}, "{}");
  expect_refused({}, {"no merges"},
                 R"({"model":{"type":"BPE","vocab":{"a":0}},"decoder":{"type":"ByteLevel"}})");
  expect_refused({}, {"deep"}, std::string(200, '['));
}

TEST(TokenizerFile, RefusesComponentsThatItDoesNotHaveByNameAndPath) {
  for (
      const auto& [text, words] : std::vector<std::pair<std::string, std::vector<std::string>>>{
          {R"({"type":"Metaspace"})", {"pre_tokenizer.type", "Metaspace"}},
          {"null", {"pre_tokenizer"}},
          {R"({"type":"Sequence","pretokenizers":[{"type":"Digits"}]})", {"ByteLevel"}},
          {R"({"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Digits"}]})",
           {"pre_tokenizer.pretokenizers[1]", "last"}},
          {R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\w"},"behavior":"Isolated"}]})",
           {"pre_tokenizer.pretokenizers[0].pattern", "\\w"}},
          {R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"a"},"behavior":"Odd"}]})",
           {"pretokenizers[0].behavior", "Odd"}},
          {R"({"type":"ByteLevel","surprise":1})", {"pre_tokenizer.surprise"}},
          {R"({"type":"ByteLevel","use_regex":"yes"})", {"pre_tokenizer.use_regex"}}}) {
    SmallFile file;
    file.pre_tokenizer = text;
    expect_refused(file, words);
  }
  SmallFile file;
  file.normalizer = R"({"type":"Lowercase"})";
  expect_refused(file, {"normalizer.type", "Lowercase", "NFC"});
  file = {};
  file.decoder = R"({"type":"WordPiece"})";
  expect_refused(file, {"decoder.type", "WordPiece"});
  file.decoder = "null";
  expect_refused(file, {"decoder"});
  file = {};
  file.post_processor = R"({"type":"BertProcessing"})";
  expect_refused(file, {"post_processor.type", "BertProcessing"});
  file.post_processor =
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}],"special_tokens":{"<s>":{"ids":[99999]}}})";
  expect_refused(file, {"post_processor.special_tokens.<s>", "no token"});
  file.post_processor = R"({"type":"TemplateProcessing","single":[]})";
  expect_refused(file, {"post_processor", "text"});
}

TEST(TokenizerFile, AddedTokensMustAgreeWithTheVocabulary) {
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::vector<std::string>>>{
           {added(300, "<a>"), {"no token has the id 265", "holes"}},
           {added(256, "<a>"), {"added_tokens[0]", "'<a>'", "'he'"}},
           {added(257, "he"), {"added_tokens[0]", "257", "256"}},
           {added(265, "<a>") + "," + added(265, "<b>"), {"added_tokens[1]", "265"}},
           {added(265, "<a>") + "," + added(266, "<a>"), {"added_tokens[1]", "repeats"}},
           {added(265, ""), {"added_tokens[0]", "content"}},
           {added(-1, "<a>"), {"added_tokens[0]", "-1"}},
           {added(265, "<a>", R"(,"rare":true)"), {"added_tokens[0].rare"}},
           {"5", {"added_tokens[0]"}}}) {
    SmallFile file;
    file.added = text;
    expect_refused(file, words);
  }
}

TEST(TokenizerFile, PutsItsTemplateAroundATextWhenAsked) {
  SmallFile file;
  file.added =
      added(265, "<s>", R"(,"special":true)") + "," + added(266, "</s>", R"(,"special":true)");
  file.post_processor =
      R"({"type":"Sequence","processors":[{"type":"ByteLevel","trim_offsets":true},{"type":"TemplateProcessing",
      "single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"</s>","type_id":0}}],
      "pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[265],"tokens":["<s>"]},"</s>":{"id":"</s>","ids":[266],"tokens":["</s>"]}}}]})";
  const auto tokenizer = file.parse();
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->encode("a"), (std::vector<std::int32_t>{'a'}));
  EXPECT_EQ(tokenizer->encode_with_special("a"), (std::vector<std::int32_t>{265, 'a', 266}));
  EXPECT_EQ(tokenizer->bos(), 265) << "a well-known name";
  EXPECT_EQ(tokenizer->eos(), 266);
}

TEST(TokenizerFile, TheConfigBesideItNamesTheEnds) {
  SmallFile file;
  file.added = added(265, "<s>") + "," + added(266, "[end]");
  const auto named = parse_tokenizer(
      file.text(), "t.json",
      R"({"bos_token":null,"eos_token":{"content":"[end]"},"add_eos_token":true})", "c.json");
  ASSERT_TRUE(named) << named.error().message;
  EXPECT_EQ(named->bos(), std::nullopt);
  EXPECT_EQ(named->eos(), 266);
  EXPECT_EQ(named->encode_with_special("a").back(), 266);
  for (const char* config : {R"({"eos_token":"[no]"})", "[]", "{"}) {
    const auto refused = parse_tokenizer(file.text(), "t.json", config, "c.json");
    ASSERT_FALSE(refused) << config;
    EXPECT_NE(refused.error().message.find("c.json"), std::string::npos);
  }
}

TEST(TokenizerFile, AMissingOneIsNotFound) {
  const auto missing = Tokenizer::load("/nowhere/tokenizer.json");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::NotFound);
  EXPECT_NE(missing.error().message.find("/nowhere/tokenizer.json"), std::string::npos);
}

}  // namespace
}  // namespace weft::trainer::tokenizer

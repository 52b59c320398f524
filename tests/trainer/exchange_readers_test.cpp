// Exported files, read by Hugging Face's own libraries.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "tests/runtime/oracle.h"
#include "tests/trainer/checkpoint_testing.h"
#include "tests/trainer/exchange_testing.h"
#include "trainer/gguf/export.h"
#include "trainer/hf/tokenizer_files.h"
#include "trainer/tokenizer/tokenizer.h"

namespace weft::trainer {
namespace {

using checkpoint::testing_::Scratch;
using nlohmann::json;

TEST(HuggingFaceGguf, ReadsTheSameHeader) {
  if (const std::string why = oracle::missing("@huggingface/gguf"); !why.empty())
    GTEST_SKIP() << why;
  ModelConfig config = hf::testing_::small_deepseek();
  config.vocab_size = 300;
  hf::testing_::MadeUpWeights weights(config);
  Scratch scratch;
  gguf::ExportOptions options;
  options.type = gguf::Type::Q8_0;
  options.vocabulary = *gguf::byte_vocabulary(tokenizer::ByteVocabulary{9}, config.vocab_size);
  const std::filesystem::path path = scratch / "model.gguf";
  ASSERT_TRUE(gguf::export_file(weights, config, path, options));
  const oracle::Answer answer = oracle::run("gguf_header.mjs", {path.string()});
  ASSERT_EQ(answer.code, 0) << answer.text;
  const json theirs = json::parse(answer.text.substr(answer.text.find('{')));
  const auto ours = gguf::read_header(path);
  ASSERT_TRUE(ours) << ours.error().message;
  ASSERT_EQ(theirs["tensors"].size(), ours->tensors.size());
  for (std::size_t i = 0; i < ours->tensors.size(); ++i) {
    const json& tensor = theirs["tensors"][i];
    EXPECT_EQ(tensor["name"], ours->tensors[i].name);
    EXPECT_EQ(tensor["dims"], json(ours->tensors[i].dims));
    EXPECT_EQ(tensor["type"], ours->tensors[i].type);
    EXPECT_EQ(tensor["offset"], ours->tensors[i].offset);
  }
  for (const auto& [key, value] : ours->keys) {
    ASSERT_TRUE(theirs["keys"].contains(key)) << key;
    if (value.type == gguf::ValueType::U32) {
      EXPECT_EQ(theirs["keys"][key], value.numbers[0]) << key;
    }
  }
  EXPECT_EQ(theirs["keys"]["tokenizer.ggml.tokens"], config.vocab_size);
}

/// Texts that a byte tokenizer with number tokens can be wrong about.
const std::vector<std::string> kTexts = {"",
                                         "12+30=42;",
                                         "0 00 007 0123 9 10 99 100 149 150 151 199 1234567890",
                                         "a1b22c333d",
                                         "<think>7</think><answer>42</answer>",
                                         "x<｜begin▁of▁sentence｜>y<｜end▁of▁sentence｜>",
                                         "<think <thin k></think",
                                         " leading, trailing \n\n\ttabs ",
                                         "Grüße, 世界! ٣٤ 𝟙𝟚 é e\u0301 🎉",
                                         "[PAD300] <0x37> Ġ Ċ"};

TEST(HuggingFaceTokenizers, CutTextAsTheByteTokenizerDoes) {
  if (const std::string why = oracle::missing("@huggingface/tokenizers"); !why.empty())
    GTEST_SKIP() << why;
  for (const int numbers : {0, 5, 9, 99, 150}) {
    Scratch scratch;
    const tokenizer::Tokenizer tokenizer = *tokenizer::Tokenizer::byte_level(numbers);
    for (const hf::SideFile& file : hf::byte_tokenizer_files({numbers}, 64))
      ASSERT_TRUE(write_file_atomically(scratch / file.name, file.content));
    ASSERT_TRUE(write_file_atomically(scratch / "texts.json", json(kTexts).dump()));
    const oracle::Answer answer =
        oracle::run("tokenize.mjs", {scratch.path().string(), (scratch / "texts.json").string()});
    ASSERT_EQ(answer.code, 0) << answer.text;
    const json theirs = json::parse(answer.text);
    for (std::size_t i = 0; i < kTexts.size(); ++i)
      EXPECT_EQ(theirs[i], json(tokenizer.encode(kTexts[i])))
          << "numbers " << numbers << ": " << kTexts[i];
  }
}

TEST(TokenizerFiles, AreJsonThatNamesEveryIdOnce) {
  for (const int numbers : {0, 5, 99}) {
    const tokenizer::ByteVocabulary bytes{numbers};
    const json file = json::parse(hf::tokenizer_json(bytes));
    std::set<int> ids;
    for (const auto& [text, id] : file["model"]["vocab"].items()) ids.insert(id.get<int>());
    for (const json& token : file["added_tokens"]) ids.insert(token["id"].get<int>());
    EXPECT_EQ(static_cast<int>(ids.size()), bytes.size());
    EXPECT_EQ(*ids.rbegin(), bytes.size() - 1);
  }
  EXPECT_EQ(hf::number_pattern(150), "1[0-4][0-9]|150|[1-9][0-9]|[0-9]");
  EXPECT_EQ(hf::number_pattern(5), "[0-4]|5");
}

}  // namespace
}  // namespace weft::trainer

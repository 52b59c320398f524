// weft tokenizer, and weft check of a job with a tokenizer.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/runtime/cli_in_process.h"

namespace weft::cli {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

class TokenizerVerbs : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = fs::temp_directory_path() / ("weft_tokenizer_cli_" + std::to_string(::getpid()));
    fs::create_directories(directory_);
    std::ofstream text(directory_ / "corpus.txt");
    for (int i = 0; i < 200; ++i) text << "the shuttle carries the weft " << i << "\n";
    text.close();
    const Result trained = run({"tokenizer", "train", "--vocab", "400", "--input",
                                (directory_ / "corpus.txt").string(), "-o", tokenizer()});
    ASSERT_EQ(trained.code, kOk) << trained.err;
  }
  static void TearDownTestSuite() { fs::remove_all(directory_); }
  static std::string tokenizer() { return (directory_ / "learned").string(); }

  static inline fs::path directory_;
};

TEST_F(TokenizerVerbs, EncodeAndDecodeAreEachOthersInverse) {
  const std::string text = "the weft, [brackets, too]\n<think>\xe4\xb8\xad";
  const Result encoded = run_reading(text, {"tokenizer", "encode", tokenizer(), "--json"});
  ASSERT_EQ(encoded.code, kOk) << encoded.err;
  std::string ids;
  const json object = json::parse(encoded.out);
  for (const json& id : object["ids"]) ids += id.dump() + " ";
  EXPECT_EQ(run_reading(ids, {"tokenizer", "decode", tokenizer()}).out, text);
  const Result given = run({"tokenizer", "encode", tokenizer(), "[a, b]", "--json"});
  const Result read = run_reading("[a, b]", {"tokenizer", "encode", tokenizer(), "--json"});
  EXPECT_EQ(given.out, read.out) << "a text in brackets is one text";
}

TEST_F(TokenizerVerbs, ShowTellsTheSizeAndTheEnds) {
  const Result shown = run({"tokenizer", "show", tokenizer(), "--json"});
  ASSERT_EQ(shown.code, kOk) << shown.err;
  const json object = json::parse(shown.out);
  EXPECT_EQ(object["kind"], "bpe");
  EXPECT_EQ(object["components"].size(), 4u);
  EXPECT_EQ(object["added_tokens"][0]["id"], object["bos"]);
  EXPECT_EQ(object["added_tokens"][1]["id"], object["eos"]);
}

TEST_F(TokenizerVerbs, AConversationShowsWhatIsLearned) {
  const Result shown =
      run_reading(R"([{"role":"user","content":"the weft"},{"role":"assistant","content":"yes"}])",
                  {"tokenizer", "encode", tokenizer(), "--chat", "deepseek-r1", "--json"});
  ASSERT_EQ(shown.code, kOk) << shown.err;
  const json object = json::parse(shown.out);
  EXPECT_EQ(object["loss"].size(), object["ids"].size());
  EXPECT_EQ(object["loss"][0], 0);
  EXPECT_EQ(object["loss"].back(), 1);
}

TEST_F(TokenizerVerbs, WhatIsWrongIsNamed) {
  const Result missing = run({"tokenizer", "show", "/nowhere"});
  EXPECT_NE(missing.code, kOk);
  EXPECT_NE(missing.err.find("/nowhere"), std::string::npos);
  const Result words = run_reading("1 two", {"tokenizer", "decode", tokenizer()});
  EXPECT_EQ(words.code, kUsage) << words.err;
  const Result chat = run({"tokenizer", "encode", tokenizer(), "--chat", "chatlm", "x"});
  EXPECT_NE(chat.err.find("did you mean 'chatml'"), std::string::npos) << chat.err;
}

TEST_F(TokenizerVerbs, CheckSaysWhetherTheModelHoldsTheTokenizer) {
  const std::string job = (directory_ / "job.yaml").string();
  std::ofstream(job) << "name: t\nrecipe: [pretrain]\ntokenizer: {kind: bpe, path: " << tokenizer()
                     << "}\ndata: {task: text, path: " << (directory_ / "corpus.txt").string()
                     << "}\n";
  const Result fits = run({"check", job, "--set", "model.vocab_size=512"});
  EXPECT_EQ(fits.code, kOk) << fits.err;
  const Result small = run({"check", job, "--set", "model.vocab_size=262"});
  EXPECT_EQ(small.code, kConfiguration);
  EXPECT_NE(small.err.find("model.vocab_size = 262 is smaller than the tokenizer's"),
            std::string::npos)
      << small.err;
  const Result none = run({"check", job, "--set", "tokenizer.path="});
  EXPECT_NE(none.err.find("tokenizer.path"), std::string::npos) << none.err;
}

}  // namespace
}  // namespace weft::cli

// Exported GGUF files, read by llama.cpp itself: the same next tokens, the same logits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "tests/runtime/oracle.h"
#include "tests/runtime/trained_model.h"
#include "tests/trainer/checkpoint_testing.h"
#include "trainer/gguf/export.h"

namespace weft::runtime {
namespace {

namespace fs = std::filesystem;
namespace gguf = trainer::gguf;
using trainer::checkpoint::testing_::Scratch;

constexpr int kSteps = 64;

/// One continuation: the logits of each step; the first largest one goes on.
struct Continuation {
  std::vector<int> tokens;
  std::vector<std::vector<float>> logits;
};

int largest(const std::vector<float>& values) {
  return static_cast<int>(std::ranges::max_element(values) - values.begin());
}

Expected<Continuation> ours(LoadedModel& model, std::vector<std::int32_t> tokens) {
  Continuation out;
  for (int step = 0; step < kSteps; ++step) {
    WEFT_TRY_ASSIGN(std::vector<float> logits, model.logits(tokens));
    out.tokens.push_back(largest(logits));
    tokens.push_back(out.tokens.back());
    out.logits.push_back(std::move(logits));
  }
  return out;
}

std::vector<Continuation> theirs(const fs::path& file, const std::string& prompts, int count,
                                 int vocab, const fs::path& scratch) {
  const fs::path prompts_path = scratch / "prompts.json", out_path = scratch / "logits.bin";
  std::ofstream(prompts_path) << prompts;
  const oracle::Answer answer = oracle::run(
      "llama_logits.mjs", {file.string(), prompts_path.string(), std::to_string(kSteps),
                           out_path.string()});
  EXPECT_EQ(answer.code, 0) << answer.text;
  std::ifstream in(out_path, std::ios::binary);
  std::vector<Continuation> all(static_cast<std::size_t>(count));
  for (Continuation& one : all)
    for (int step = 0; step < kSteps; ++step) {
      std::vector<float>& logits = one.logits.emplace_back(vocab);
      in.read(reinterpret_cast<char*>(logits.data()),
              static_cast<std::streamsize>(logits.size() * sizeof(float)));
      EXPECT_TRUE(in) << "the oracle wrote too little";
      one.tokens.push_back(largest(logits));
    }
  return all;
}

struct Difference {
  double largest = 0;  // of any logit
  double spread = 0;   // largest minus smallest logit of ours, at most
};

Difference compare(const Continuation& a, const Continuation& b) {
  Difference out;
  for (std::size_t step = 0; step < a.logits.size(); ++step) {
    const auto [low, high] = std::ranges::minmax(a.logits[step]);
    out.spread = std::max<double>(out.spread, high - low);
    for (std::size_t i = 0; i < a.logits[step].size(); ++i)
      out.largest = std::max<double>(out.largest, std::fabs(a.logits[step][i] - b.logits[step][i]));
  }
  return out;
}

/// A trained model, its continuations of two prompts, and llama.cpp's of an exported file.
class LlamaCpp : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = oracle::missing("@node-llama-cpp"); !why.empty())
      GTEST_SKIP() << why;
  }

  void train(const trainer::ModelConfig& config) {
    config_ = config;
    const auto checkpoint = train_and_save(config_, 150, scratch_ / "ckpt");
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    checkpoint_ = *checkpoint;
    auto model = LoadedModel::open(config_, checkpoint_);
    ASSERT_TRUE(model) << model.error().message;
    model_ = std::move(*model);
    const auto tokenizer = *trainer::data::Tokenizer::byte_level(99);
    std::ostringstream text;
    for (const char* const prompt : {"3+4=", "12+30=42;7+40=47;25+1"}) {
      const std::vector<std::int32_t> tokens = tokenizer.encode(prompt);
      text << (text.tellp() == 0 ? "[[" : ",[");
      for (std::size_t i = 0; i < tokens.size(); ++i) text << (i == 0 ? "" : ",") << tokens[i];
      text << "]";
      auto continuation = ours(*model_, tokens);
      ASSERT_TRUE(continuation) << continuation.error().message;
      ours_.push_back(std::move(*continuation));
    }
    prompts_ = text.str() + "]";
  }

  /// The export's continuations, compared with ours.
  Difference difference(gguf::Type type, bool same_tokens, std::uint64_t shard_bytes = 0) {
    auto reader = trainer::checkpoint::Reader::open(checkpoint_);
    trainer::hf::CheckpointSource source(*reader);
    gguf::ExportOptions options;
    options.type = type;
    options.name = "trained";
    options.shard_bytes = shard_bytes;
    options.vocabulary =
        *gguf::byte_vocabulary(*trainer::data::Tokenizer::byte_level(99), config_.vocab_size);
    const fs::path file = scratch_ / ("model-" + std::to_string(static_cast<int>(type)) + ".gguf");
    const auto exported = gguf::export_file(source, config_, file, options);
    EXPECT_TRUE(exported) << exported.error().message;
    if (!exported) return {1e9, 0};
    const std::vector<Continuation> other =
        theirs(exported->files[0], prompts_, static_cast<int>(ours_.size()), config_.vocab_size,
               scratch_.path());
    Difference out;
    for (std::size_t i = 0; i < ours_.size(); ++i) {
      if (same_tokens) {
        EXPECT_EQ(ours_[i].tokens, other[i].tokens) << "prompt " << i;
      }
      const Difference one = compare(ours_[i], other[i]);
      out = {std::max(out.largest, one.largest), std::max(out.spread, one.spread)};
    }
    std::printf("largest difference of a logit: %.2g (logits spread over %.3g)\n", out.largest,
                out.spread);
    return out;
  }

  Scratch scratch_;
  trainer::ModelConfig config_;
  fs::path checkpoint_;
  std::unique_ptr<LoadedModel> model_;
  std::string prompts_;
  std::vector<Continuation> ours_;
};

TEST_F(LlamaCpp, GoesOnWithTheSameTokensFromTheSameLogits) {
  ASSERT_NO_FATAL_FAILURE(train(exported_model()));
  // What must not be forgotten in the file is there to be forgotten.
  float bias = 0;
  for (int i = 0; i < static_cast<int>(model_->parameters().items().size()); ++i)
    if (model_->parameters().items()[i].name.ends_with("e_score_correction_bias"))
      for (const float b : model_->parameters().value(i)) bias = std::max(bias, std::fabs(b));
  EXPECT_GT(bias, 0.05f) << "the selection bias has not moved";
  const Difference f32 = difference(gguf::Type::F32, true);
  EXPECT_GT(f32.spread, 5) << "the model has learned nothing";
  EXPECT_LT(f32.largest, 1e-3);
}

}  // namespace
}  // namespace weft::runtime

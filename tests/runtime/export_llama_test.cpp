// Exported GGUF files, read by llama.cpp itself: the same next tokens, the same logits.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <utility>

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
      "llama_logits.mjs",
      {file.string(), prompts_path.string(), std::to_string(kSteps), out_path.string()});
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

/// Over the first so many steps.
Difference compare(const Continuation& a, const Continuation& b, std::size_t steps) {
  Difference out;
  for (std::size_t step = 0; step < steps; ++step) {
    const auto [low, high] = std::ranges::minmax(a.logits[step]);
    out.spread = std::max<double>(out.spread, high - low);
    for (std::size_t i = 0; i < a.logits[step].size(); ++i)
      out.largest = std::max<double>(out.largest, std::fabs(a.logits[step][i] - b.logits[step][i]));
  }
  return out;
}

/// A trained model and its continuations of two prompts.
struct Trained {
  trainer::ModelConfig config;
  fs::path directory, checkpoint;
  std::unique_ptr<LoadedModel> model;
  std::string prompts;  // as JSON
  std::vector<Continuation> continuations;

  ~Trained() { fs::remove_all(directory); }

  static Expected<std::unique_ptr<Trained>> make(const std::string& name,
                                                 const trainer::ModelConfig& config, int steps) {
    auto out = std::make_unique<Trained>();
    out->config = config;
    out->directory =
        fs::path(::testing::TempDir()) / ("weft_llama_" + name + std::to_string(::getpid()));
    fs::create_directories(out->directory);
    WEFT_TRY_ASSIGN(out->checkpoint, train_and_save(config, steps, out->directory / "ckpt"));
    WEFT_TRY_ASSIGN(out->model, LoadedModel::open(config, out->checkpoint));
    WEFT_TRY_ASSIGN(const auto tokenizer, trainer::data::Tokenizer::byte_level(99));
    for (const char* const prompt : {"3+4=", "12+30=42;7+40=47;25+1"}) {
      const std::vector<std::int32_t> tokens = tokenizer.encode(prompt);
      std::string ids;
      for (const std::int32_t token : tokens)
        ids += (ids.empty() ? "" : ",") + std::to_string(token);
      out->prompts += (out->prompts.empty() ? "[[" : ",[") + ids + "]";
      WEFT_TRY_ASSIGN(Continuation continuation, ours(*out->model, tokens));
      out->continuations.push_back(std::move(continuation));
    }
    out->prompts += "]";
    return out;
  }
};

class LlamaCpp : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = oracle::missing("@node-llama-cpp"); !why.empty())
      GTEST_SKIP() << why;
  }

  std::vector<std::string> export_gguf(const Trained& trained, gguf::Type type,
                                       std::uint64_t shard_bytes = 0) {
    auto reader = trainer::checkpoint::Reader::open(trained.checkpoint);
    trainer::hf::CheckpointSource source(*reader);
    gguf::ExportOptions options;
    options.type = type;
    options.name = "trained";
    options.shard_bytes = shard_bytes;
    options.vocabulary =
        *gguf::byte_vocabulary(trainer::tokenizer::ByteVocabulary{99}, trained.config.vocab_size);
    const auto exported =
        gguf::export_file(source, trained.config, scratch_ / "model.gguf", options);
    EXPECT_TRUE(exported) << exported.error().message;
    return exported ? exported->files : std::vector<std::string>{""};
  }

  std::vector<Continuation> theirs_of(const Trained& trained, const std::string& file) {
    return theirs(file, trained.prompts, static_cast<int>(trained.continuations.size()),
                  trained.config.vocab_size, scratch_.path());
  }

  static Difference difference(const Trained& trained, const std::vector<Continuation>& other,
                               std::size_t steps) {
    Difference out;
    for (std::size_t i = 0; i < other.size(); ++i) {
      const Difference one = compare(trained.continuations[i], other[i], steps);
      out = {std::max(out.largest, one.largest), std::max(out.spread, one.spread)};
    }
    std::printf("largest difference of a logit: %.2g (logits spread over %.3g)\n", out.largest,
                out.spread);
    return out;
  }

  Scratch scratch_;
};
// Both compute in F32 and add in different orders: logits of size 10 then agree to about 1e-5; a
// hundred times that is far below what any forgotten key or turned matrix does (0.1 and more).
constexpr double kF32Tolerance = 1e-3;

/// What must not be forgotten in the file is there to be forgotten.
float largest_selection_bias(LoadedModel& model) {
  float largest = 0;
  trainer::ParameterSet& set = model.parameters();
  for (int i = 0; i < static_cast<int>(set.items().size()); ++i)
    if (set.items()[static_cast<std::size_t>(i)].name.ends_with("e_score_correction_bias"))
      for (const float bias : set.value(i)) largest = std::max(largest, std::fabs(bias));
  return largest;
}

TEST_F(LlamaCpp, GoesOnWithTheSameTokensFromTheSameLogits) {
  const auto made = Trained::make("plain", exported_model(), 120);
  ASSERT_TRUE(made) << made.error().message;
  const Trained& trained = **made;
  EXPECT_GT(largest_selection_bias(*trained.model), 0.05f) << "the selection bias has not moved";

  const std::vector<std::string> whole = export_gguf(trained, gguf::Type::F32);
  const std::vector<Continuation> other = theirs_of(trained, whole[0]);
  for (std::size_t i = 0; i < other.size(); ++i)
    EXPECT_EQ(trained.continuations[i].tokens, other[i].tokens) << "prompt " << i;
  const Difference f32 = difference(trained, other, kSteps);
  EXPECT_GT(f32.spread, 5) << "the model has learned nothing";
  EXPECT_LT(f32.largest, kF32Tolerance);
  fs::remove(whole[0]);

  const std::vector<std::string> shards = export_gguf(trained, gguf::Type::F32, 400'000);
  ASSERT_GT(shards.size(), 2u);
  EXPECT_LT(difference(trained, theirs_of(trained, shards[0]), kSteps).largest, kF32Tolerance)
      << "cut into shards";

  // llama.cpp rounds activations to the weights' format too. Bounds are shares of the logits'
  // spread.
  for (const auto& [type, share] :
       {std::pair{gguf::Type::F16, 0.01}, {gguf::Type::BF16, 0.08}, {gguf::Type::Q8_0, 0.08}}) {
    const std::vector<std::string> file = export_gguf(trained, type);
    const Difference one = difference(trained, theirs_of(trained, file[0]), 1);
    EXPECT_LT(one.largest, share * one.spread) << gguf::type_name(static_cast<std::uint32_t>(type));
    fs::remove(file[0]);
  }
}

TEST_F(LlamaCpp, StretchesPositionsAsYarnDoes) {
  trainer::ModelConfig config = exported_model();
  config.yarn.factor = 8;
  config.yarn.original_max_position_embeddings = 32;
  config.yarn.mscale = config.yarn.mscale_all_dim = 1;
  const auto stretched = Trained::make("yarn", config, 60);
  ASSERT_TRUE(stretched) << stretched.error().message;
  const std::vector<Continuation> other =
      theirs_of(**stretched, export_gguf(**stretched, gguf::Type::F32)[0]);
  EXPECT_LT(difference(**stretched, other, kSteps).largest, kF32Tolerance);
}

}  // namespace
}  // namespace weft::runtime

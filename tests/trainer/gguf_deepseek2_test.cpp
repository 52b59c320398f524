#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "base/small_floats.h"
#include "tests/trainer/checkpoint_testing.h"
#include "tests/trainer/exchange_testing.h"
#include "trainer/gguf/deepseek2.h"
#include "trainer/gguf/export.h"

namespace weft::trainer::gguf {
namespace {

using checkpoint::testing_::Scratch;
using hf::testing_::MadeUpWeights;

ModelConfig model() {
  ModelConfig config = hf::testing_::small_deepseek();
  config.vocab_size = 300;
  return config;
}

std::string value_of(const std::vector<std::pair<std::string, Value>>& keys,
                     const std::string& key) {
  for (const auto& [name, value] : keys)
    if (name == key) return to_string(value);
  return "missing";
}

TEST(Deepseek2, EveryWeightOfTheModelGoesIntoTheFileOnce) {
  const ModelConfig config = model();
  std::map<std::string, int> uses;
  for (const OutTensor& tensor : tensors(config, Type::F32)) {
    EXPECT_LT(tensor.name.size(), 64u);
    std::uint64_t elements = 1;
    for (const std::uint64_t length : tensor.dims) elements *= length;
    EXPECT_GT(elements, 0u);
    for (const Source& source : tensor.sources) ++uses[source.tensor];
  }
  for (const hf::Tensor& tensor : hf::tensors_of(config)) {
    const bool next_token = tensor.layer >= config.num_hidden_layers;
    const int wanted = next_token ? 0 : tensor.name.ends_with("kv_b_proj.weight") ? 2 : 1;
    EXPECT_EQ(uses[tensor.name], wanted) << tensor.name;
  }
}

TEST(Deepseek2, KeysSayWhatTheModelIs) {
  ModelConfig config = model();
  const Vocabulary vocabulary =
      *byte_vocabulary(tokenizer::ByteVocabulary{0}, config.vocab_size);
  const auto has = [&](const std::string& key) {
    return value_of(keys(config, Type::BF16, vocabulary, "m"), key);
  };
  EXPECT_EQ(has("general.architecture"), "deepseek2");
  EXPECT_EQ(has("deepseek2.block_count"), "2");
  EXPECT_EQ(has("deepseek2.attention.key_length"), "136");
  EXPECT_EQ(has("deepseek2.attention.key_length_mla"), "16");
  EXPECT_EQ(has("deepseek2.attention.value_length"), "130");
  EXPECT_EQ(has("deepseek2.attention.value_length_mla"), "8");
  EXPECT_EQ(has("deepseek2.attention.head_count_kv"), "1");
  EXPECT_EQ(has("deepseek2.expert_weights_scale"), "2.5");
  EXPECT_EQ(has("deepseek2.expert_gating_func"), "2");
  EXPECT_EQ(has("deepseek2.expert_group_used_count"), "1");
  EXPECT_EQ(has("deepseek2.rope.scaling.type"), "missing");
  config.yarn.factor = 40;
  config.yarn.mscale = config.yarn.mscale_all_dim = 1;
  EXPECT_EQ(has("deepseek2.rope.scaling.type"), "yarn");
  EXPECT_EQ(has("deepseek2.rope.scaling.factor"), "40");
  EXPECT_EQ(has("deepseek2.rope.scaling.yarn_log_multiplier"), "0.1");
  EXPECT_EQ(has("deepseek2.rope.scaling.original_context_length"), "4096");
}

TEST(Deepseek2, ModelsThatLlamaCppWouldComputeDifferentlyAreRefused) {
  EXPECT_TRUE(check_expressible(model()));
  const auto refused = [](auto change) {
    ModelConfig config = model();
    change(config);
    const auto result = check_expressible(config);
    return result ? std::string("accepted") : result.error().message;
  };
  const auto names = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_TRUE(names(refused([](ModelConfig& c) { c.model_type = "llama"; }), "llama"));
  EXPECT_TRUE(names(refused([](ModelConfig& c) { c.q_lora_rank = 0; }), "q_lora_rank"));
  EXPECT_TRUE(names(refused([](ModelConfig& c) { c.n_routed_experts = 0; }), "experts"));
  EXPECT_TRUE(names(refused([](ModelConfig& c) {
                      c.yarn.factor = 4;
                      c.yarn.mscale = 0.7;
                    }),
                    "mscale"));
}

TEST(Deepseek2, KeysAndValuesAreTakenApartHeadByHead) {
  ModelConfig config = model();
  config.num_attention_heads = 2;
  config.qk_nope_head_dim = 2;
  config.v_head_dim = 1;
  config.kv_lora_rank = 3;
  // Row r of kv_b_proj holds 10 r, 10 r + 1, 10 r + 2. Heads are [k, k, v].
  std::vector<float> rows;
  for (int r = 0; r < 6; ++r)
    for (int l = 0; l < 3; ++l) rows.push_back(static_cast<float>(10 * r + l));
  std::vector<float> out;
  transform(config, Transform::KeyPart, rows, out);
  EXPECT_EQ(out, (std::vector<float>{0, 10, 1, 11, 2, 12, 30, 40, 31, 41, 32, 42}));
  transform(config, Transform::ValuePart, rows, out);
  EXPECT_EQ(out, (std::vector<float>{20, 21, 22, 50, 51, 52}));
}

TEST(Deepseek2, Q8HoldsEachBlockToHalfAStep) {
  Rng rng(2, "q8");
  std::vector<float> values(96);
  for (float& value : values) value = static_cast<float>(rng.normal());
  values[40] = 0;
  for (std::size_t i = 64; i < 96; ++i) values[i] = 0;
  std::vector<std::byte> bytes;
  ASSERT_TRUE(encode(values, Type::Q8_0, bytes));
  ASSERT_EQ(bytes.size(), 3u * 34);
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint16_t scale = 0;
    std::memcpy(&scale, bytes.data() + i / 32 * 34, 2);
    const float step = from_f16(scale);
    const auto code = static_cast<std::int8_t>(bytes[i / 32 * 34 + 2 + i % 32]);
    EXPECT_LE(std::fabs(step * code - values[i]), step * 0.56f) << i;  // the scale is rounded too
  }
}

TEST(Deepseek2, AFileHoldsMergedExpertsAndShardsHoldTheSame) {
  const ModelConfig config = model();
  MadeUpWeights weights(config);
  Scratch scratch;
  ExportOptions options;
  options.type = Type::F32;
  options.vocabulary = *byte_vocabulary(tokenizer::ByteVocabulary{9}, config.vocab_size);
  ASSERT_TRUE(export_file(weights, config, scratch / "one.gguf", options));
  options.shard_bytes = 200'000;
  const auto shards = export_file(weights, config, scratch / "cut.gguf", options);
  ASSERT_TRUE(shards) << shards.error().message;
  ASSERT_GT(shards->files.size(), 2u);
  EXPECT_TRUE(shards->files[0].ends_with("cut-00001-of-0000" +
                                         std::to_string(shards->files.size()) + ".gguf"));

  const auto contents = [](const std::vector<std::string>& files) {
    std::map<std::string, std::string> out;
    for (const std::string& path : files) {
      const auto header = read_header(path);
      EXPECT_TRUE(header) << header.error().message;
      auto file = *checkpoint::Disk::real().open(path);
      EXPECT_EQ(*file->size() % kAlignment, 0u);
      for (const TensorInfo& tensor : header->tensors) {
        std::string bytes(tensor.bytes, '\0');
        EXPECT_TRUE(file->read_at(header->data_start + tensor.offset,
                                  std::as_writable_bytes(std::span(bytes))));
        out[tensor.name] = std::move(bytes);
      }
    }
    return out;
  };
  const auto whole = contents({(scratch / "one.gguf").string()});
  EXPECT_EQ(whole, contents(shards->files));
  const std::string& up = whole.at("blk.1.ffn_up_exps.weight");
  for (int e = 0; e < config.n_routed_experts; ++e) {
    const std::vector<float> expert =
        weights.whole("model.layers.1.mlp.experts." + std::to_string(e) + ".up_proj.weight");
    EXPECT_EQ(std::memcmp(up.data() + static_cast<std::size_t>(e) * expert.size() * 4,
                          expert.data(), expert.size() * 4),
              0);
  }
}

TEST(Vocabulary, WritesEveryByteAsACharacterOfItsOwn) {
  std::set<std::string> all;
  for (int b = 0; b < 256; ++b) all.insert(byte_character(static_cast<unsigned char>(b)));
  EXPECT_EQ(all.size(), 256u);
  EXPECT_EQ(byte_character(' '), "Ġ");
  EXPECT_EQ(byte_character('\n'), "Ċ");
  EXPECT_EQ(byte_character('A'), "A");
}

TEST(Vocabulary, AllTokensDifferAndNumbersHaveTheirOwn) {
  for (const int numbers : {0, 5, 9, 99, 384}) {
    const tokenizer::ByteVocabulary bytes{numbers};
    const auto vocabulary = byte_vocabulary(bytes, bytes.size() + 3);
    ASSERT_TRUE(vocabulary);
    const std::set<std::string> all(vocabulary->tokens.begin(), vocabulary->tokens.end());
    EXPECT_EQ(all.size(), vocabulary->tokens.size()) << numbers;
    if (numbers >= 5) {
      EXPECT_EQ(vocabulary->tokens[tokenizer::byte_ids::kFirstNumber + 5], "5");
    }
    EXPECT_EQ(vocabulary->caveats.empty(), numbers <= 9);
  }
  EXPECT_FALSE(byte_vocabulary(tokenizer::ByteVocabulary{9}, 200));
}

TEST(Vocabulary, IsReadFromATokenizerJson) {
  const std::string json =
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
          "added_tokens": [{"id": 3, "content": "<s>", "special": true},
                           {"id": 4, "content": "<think>", "special": false}]})";
  const auto vocabulary =
      parse_vocabulary(json, R"({"bos_token": {"content": "<s>"}, "chat_template": "x"})", 6);
  ASSERT_TRUE(vocabulary) << vocabulary.error().message;
  EXPECT_EQ(vocabulary->tokens,
            (std::vector<std::string>{"a", "b", "ab", "<s>", "<think>", "[PAD5]"}));
  EXPECT_EQ(vocabulary->types, (std::vector<std::int32_t>{1, 1, 1, 3, 4, 5}));
  EXPECT_EQ(vocabulary->merges, std::vector<std::string>{"a b"});
  EXPECT_EQ(vocabulary->bos, 3);
  EXPECT_EQ(vocabulary->eos, -1);
  EXPECT_EQ(vocabulary->chat_template, "x");
  EXPECT_FALSE(parse_vocabulary(json, "", 4)) << "an id beyond the model";
  EXPECT_FALSE(parse_vocabulary("{}", "", 4));
  EXPECT_FALSE(parse_vocabulary(R"({"model": {"type": "BPE", "vocab": {}}})", "", 4)) << "merges";
}

}  // namespace
}  // namespace weft::trainer::gguf

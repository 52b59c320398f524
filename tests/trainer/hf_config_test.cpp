// Models as their config.json describes them: what is counted, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/files.h"
#include "trainer/hf/config.h"
#include "trainer/hf/inventory.h"

namespace weft::trainer::hf {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string v3_text() {
  return *read_file(WEFT_SOURCE_DIR "/deploy/models/deepseek-v3.config.json");
}

ModelConfig must(const std::string& text) {
  const auto parsed = parse_config(text, "config.json");
  EXPECT_TRUE(parsed) << parsed.error().message;
  return parsed ? parsed->config : ModelConfig{};
}

/// The text with one piece of it replaced.
std::string with(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string why(const std::string& text) {
  const auto parsed = parse_config(text, "config.json");
  return parsed ? "" : parsed.error().message;
}

const char* kQwen = R"({"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 3584,
  "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
  "num_key_value_heads": 4, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6,
  "rope_theta": 1000000, "tie_word_embeddings": false, "hidden_act": "silu",
  "torch_dtype": "bfloat16", "use_sliding_window": false})";

// DeepSeek-V3: every figure is published or follows from the published checkpoint.
TEST(HfInventory, CountsDeepSeekV3Exactly) {
  const Counts counts = count(must(v3_text()));
  EXPECT_EQ(counts.total, 671'026'419'200);
  EXPECT_EQ(counts.active, 37'552'297'472);
  EXPECT_EQ(counts.active - counts.embedding, 36'625'618'432);
  EXPECT_EQ(counts.active - counts.embedding - counts.head, 35'698'939'392);
  EXPECT_EQ(counts.next_token, 11'610'068'224);
}

TEST(HfInventory, ListsEveryTensorOfThePublishedCheckpoint) {
  const ModelConfig config = must(v3_text());
  std::int64_t tensors = 0, weights = 0, scales = 0;
  std::set<std::string> names;
  const auto blocks = [](std::int64_t length, int block) { return (length + block - 1) / block; };
  for (const Tensor& tensor : tensors_of(config)) {
    EXPECT_TRUE(names.insert(tensor.name).second) << tensor.name;
    ++tensors;
    weights += tensor.size();
    if (!tensor.quantized) continue;
    ++tensors;  // weight_scale_inv
    scales += blocks(tensor.shape[0], config.fp8_block_rows) *
              blocks(tensor.shape[1], config.fp8_block_columns);
  }
  EXPECT_EQ(tensors, 91'991);
  EXPECT_EQ(weights, 684'489'845'504);
  EXPECT_EQ(scales, 41'540'496);
}

TEST(HfInventory, FlopsOfATokenAreThosePublishedWithinTheHeadsShare) {
  // 249.7 and 280.2 GFLOP are reported at 4096; the count of every product gives 0.3 % more.
  const Flops flops = flops_per_token(must(v3_text()), 4096);
  EXPECT_NEAR(flops.training() / 1e9, 250.4, 0.1);
  EXPECT_NEAR(flops.training_full() / 1e9, 281.2, 0.1);
  EXPECT_NEAR(flops.training() / 1e9, 249.7, 0.004 * 249.7);
  EXPECT_NEAR(flops.training_full() / 1e9, 280.2, 0.004 * 280.2);
}

TEST(HfInventory, CountsADenseStudentExactly) {
  const ModelConfig config = must(kQwen);
  EXPECT_FALSE(config.latent_attention());
  EXPECT_TRUE(config.attention_bias);
  EXPECT_EQ(count(config).total, 7'615'616'512);  // Qwen2.5-7B
  EXPECT_EQ(count(config).active, count(config).total);
}

TEST(HfConfig, VariantsOfTheShapeAllWork) {
  const std::string v3 = v3_text();
  EXPECT_EQ(must(with(v3, "\"q_lora_rank\": 1536", "\"q_lora_rank\": null")).q_lora_rank, 0);
  EXPECT_EQ(must(with(v3, "\"num_nextn_predict_layers\": 1", "\"num_nextn_predict_layers\": 0"))
                .num_nextn_predict_layers,
            0);
  const std::string ungrouped =
      with(with(v3, "\"n_group\": 8", "\"n_group\": 1"), "\"topk_group\": 4", "\"topk_group\": 1");
  EXPECT_EQ(must(ungrouped).n_group, 1);
  const ModelConfig dense = must(with(v3, "\"n_routed_experts\": 256,", ""));
  EXPECT_FALSE(dense.is_moe(60));
  EXPECT_EQ(count(dense).active, count(dense).total);
  EXPECT_FALSE(must(with(v3, "\"rope_scaling\": {\"type\": \"yarn\"",
                         "\"rope_scaling\": {\"type\": \"default\""))
                   .yarn.active());
  const ModelConfig tied =
      must(with(kQwen, "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true"));
  EXPECT_EQ(count(tied).total, 7'615'616'512 - 152'064LL * 3584);
}

TEST(HfConfig, WhatIsWrittenIsReadBackAsTheSameModel) {
  const std::string v3 = v3_text();
  const std::string qwen3 = with(kQwen, "\"qwen2\"", "\"qwen3\"");
  for (const std::string& text :
       {v3, with(v3, "\"q_lora_rank\": 1536", "\"q_lora_rank\": null"),
        with(v3, "\"n_routed_experts\": 256,", ""), with(v3, "noaux_tc", "group_limited_greedy"),
        std::string(kQwen), qwen3, with(kQwen, "\"qwen2\"", "\"llama\""),
        with(kQwen, "\"hidden_act\"",
             "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.5, "
             "\"original_max_position_embeddings\": 32768}, \"hidden_act\"")}) {
    const ModelConfig config = must(text);
    const std::string written = write_config(config, {.bos = 0, .eos = 1});
    const auto again = parse_config(written, "written");
    ASSERT_TRUE(again) << again.error().message << "\n" << written;
    EXPECT_EQ(again->config, config) << written;
    EXPECT_TRUE(again->warnings.empty()) << again->warnings[0];
  }
}

TEST(HfConfig, TheSmallModelOfJobFilesIsWrittenToo) {
  EXPECT_EQ(must(write_config(ModelConfig{})), ModelConfig{});
}

TEST(HfConfig, WhatHasNoEffectIsSaid) {
  const auto parsed =
      parse_config(with(v3_text(), "\"seq_aux\"", "\"rope_fancy\": 3, \"seq_aux\""), "config.json");
  ASSERT_TRUE(parsed);
  EXPECT_THAT(parsed->warnings, ElementsAre(HasSubstr("rope_fancy")));
  EXPECT_TRUE(parse_config(v3_text(), "config.json")->warnings.empty());
}

TEST(HfConfig, EveryContradictionIsNamedAtOnce) {
  std::string text = with(v3_text(), "\"n_group\": 8", "\"n_group\": 7");
  text = with(text, "\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"");
  text = with(text, "\"vocab_size\": 129280,", "");
  text = with(text, "\"qk_rope_head_dim\": 64", "\"qk_rope_head_dim\": 63");
  EXPECT_THAT(why(text),
              AllOf(HasSubstr("(256) is not divisible by n_group (7)"), HasSubstr("gelu"),
                    HasSubstr("vocab_size is missing"), HasSubstr("turn pairs")));
}

TEST(HfConfig, BadTextIsRefusedWithTheFilesName) {
  for (const char* text : {"", "[]", "{", R"({"model_type": 3})", R"({"a": 1, "a": 2})",
                           R"({"model_type": "deepseek_v3", "vocab_size": -1})",
                           R"({"model_type": "deepseek_v3", "vocab_size": 1e99})"})
    EXPECT_THAT(why(text), HasSubstr("config.json")) << text;
  EXPECT_THAT(why(with(v3_text(), "deepseek_v3", "deepseek_v4")),
              HasSubstr("did you mean deepseek_v3"));
  EXPECT_THAT(
      why(with(v3_text(), "\"scoring_func\": \"sigmoid\"", "\"scoring_func\": \"softmax\"")),
      HasSubstr("only \"sigmoid\" is understood"));
}

}  // namespace
}  // namespace weft::trainer::hf

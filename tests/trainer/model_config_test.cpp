#include <gtest/gtest.h>

#include "model_fixture.h"
#include "trainer/hf/inventory.h"
#include "trainer/model/config.h"
#include "trainer/model/rotary.h"

namespace weft::trainer {
namespace {

ModelConfig deepseek_v3() {
  ModelConfig c;
  c.vocab_size = 129280;
  c.hidden_size = 7168;
  c.intermediate_size = 18432;
  c.moe_intermediate_size = 2048;
  c.num_hidden_layers = 61;
  c.first_k_dense_replace = 3;
  c.num_attention_heads = 128;
  c.n_routed_experts = 256;
  c.num_experts_per_tok = 8;
  c.n_group = 8;
  c.topk_group = 4;
  c.q_lora_rank = 1536;
  c.kv_lora_rank = 512;
  c.qk_nope_head_dim = 128;
  c.qk_rope_head_dim = 64;
  c.v_head_dim = 128;
  return c;
}

TEST(ModelConfig, CountEqualsTheParametersThatAStageHolds) {
  for (const ModelConfig& config : {small_config(), job_config()}) {
    Alone alone;
    StageModel model(config, whole(config), *alone.group, alone.context, 8);
    long long held = 0;
    for (const Parameter& item : model.parameters().items()) held += item.size;
    EXPECT_EQ(held, hf::count(config).total);
  }
}

TEST(ModelConfig, NamesEveryContradictionAtOnce) {
  EXPECT_TRUE(problems(ModelConfig{}).empty());
  EXPECT_TRUE(problems(deepseek_v3()).empty());
  ModelConfig bad;
  bad.n_group = 3;
  bad.qk_rope_head_dim = 7;
  bad.hidden_size = 0;
  const auto found = problems(bad);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0], "hidden_size is 0: it must be at least 1");
  EXPECT_EQ(found[2], "n_routed_experts (8) is not divisible by n_group (3)");
}

TEST(Rotary, YarnStretchesDeepSeekV3AsItsOwnCodeDoes) {
  ModelConfig c = deepseek_v3();
  const std::vector<double> plain = rotary_frequencies(c);
  EXPECT_EQ(plain.size(), 32u);
  EXPECT_EQ(rotary_scale(c), 1.0);
  EXPECT_DOUBLE_EQ(softmax_scale(c), 1 / std::sqrt(192.0));
  c.yarn = {.factor = 40, .mscale = 1, .mscale_all_dim = 1};
  const std::vector<double> stretched = rotary_frequencies(c);
  // Within 4096 tokens pair 10 turns 37 times and pair 23 turns 0.9 times; the ramp is between.
  for (std::size_t i = 0; i < 32; ++i) {
    const double ramp = i <= 10 ? 0 : i >= 23 ? 1 : (static_cast<double>(i) - 10) / 13;
    EXPECT_NEAR(stretched[i] / plain[i], 1 - ramp + ramp / 40, 1e-12) << i;
  }
  EXPECT_EQ(rotary_scale(c), 1.0);
  EXPECT_NEAR(softmax_scale(c) * std::sqrt(192.0), 1.8738, 1e-4);  // (0.1 ln 40 + 1)^2
}

TEST(ModelConfig, TooManyExpertsForTheOpenGroupsIsAProblem) {
  ModelConfig bad;
  bad.topk_group = 1;
  bad.num_experts_per_tok = 5;
  EXPECT_EQ(problems(bad).size(), 1u);
}

TEST(ModelConfig, AShapeThatItsTypeCannotSayIsAProblem) {
  ModelConfig student;
  student.model_type = "qwen3";
  EXPECT_EQ(problems(student).size(), 1u);  // latent attention
  student.kv_lora_rank = 0;
  student.n_routed_experts = 0;
  student.num_key_value_heads = 2;
  student.head_dim = 16;
  const auto found = problems(student);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0], "qk_norm is false: model_type qwen3 always has it");
  student.qk_norm = true;
  EXPECT_TRUE(problems(student).empty());
  student.num_key_value_heads = 3;
  EXPECT_EQ(problems(student)[0],
            "num_attention_heads (8) is not divisible by num_key_value_heads (3)");
}

}  // namespace
}  // namespace weft::trainer

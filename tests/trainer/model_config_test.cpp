#include <gtest/gtest.h>

#include "model_fixture.h"
#include "trainer/model/config.h"

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

TEST(ModelConfig, CountsDeepSeekV3AsPublished) {
  EXPECT_EQ(count_parameters(deepseek_v3()).total, 671'026'419'200);
  EXPECT_EQ(count_parameters(deepseek_v3()).active, 37'552'297'472);
}

TEST(ModelConfig, CountEqualsTheParametersThatAStageHolds) {
  for (const ModelConfig& config : {small_config(), job_config()}) {
    Alone alone;
    StageModel model(config, whole(config), *alone.group, alone.context, 8);
    long long held = 0;
    for (const Parameter& item : model.parameters().items()) held += item.size;
    EXPECT_EQ(held, count_parameters(config).total);
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
  EXPECT_NE(found[1].find("n_routed_experts (8) is not divisible by n_group (3)"),
            std::string::npos);
}

TEST(ModelConfig, TooManyExpertsForTheOpenGroupsIsAProblem) {
  ModelConfig bad;
  bad.topk_group = 1;
  bad.num_experts_per_tok = 5;
  EXPECT_EQ(problems(bad).size(), 1u);
}

}  // namespace
}  // namespace weft::trainer

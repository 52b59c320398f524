// BF16 against F32: how near, how much smaller, and the promises that hold in every precision.
#include <algorithm>
#include <cmath>

#include "model_fixture.h"
#include "trainer/optimizer/adamw.h"

namespace weft::trainer {
namespace {

ModelConfig mid_config() {
  ModelConfig c;
  c.vocab_size = 40;
  c.hidden_size = 64;
  c.intermediate_size = 96;
  c.moe_intermediate_size = 48;
  c.num_hidden_layers = 3;
  c.num_attention_heads = 4;
  c.q_lora_rank = 32;
  c.kv_lora_rank = 32;
  c.initializer_range = 0.08;
  return c;
}

struct Stage : Alone {
  StageModel model;
  std::vector<MicroBatch> batches;

  Stage(const ModelConfig& c, Precision precision, Recompute recompute = Recompute::None,
        std::vector<int> lengths = {17, 9, 30})
      : model(c, {0, c.num_hidden_layers, true, true}, *group, context, 256, recompute, {},
              precision) {
    model.initialize(3);
    batches = {random_batch(c, lengths, 5)};
    model.set_micro_batches(batches);
  }
  void pass() {
    forward(model, 0);
    backward_input(model, 0);
    backward_weights(model, 0);
    model.release(0);
  }
};

double norm(std::span<const Real> x) {
  double sum = 0;
  for (const Real v : x) sum += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(sum);
}

// One rounding to BF16 is off by at most 2^-9 of a number; a gradient passes some ten of them a
// block, which add up as a random walk: 2^-9 * sqrt(30) is about 1 %. Twice that is allowed.
void expect_near_f32(const ModelConfig& config, double tolerance) {
  Stage f32(config, Precision::F32), bf16(config, Precision::BF16);
  f32.pass();
  bf16.pass();
  EXPECT_NEAR(loss_of(bf16.model, 0), loss_of(f32.model, 0), 2e-3 * loss_of(f32.model, 0));
  EXPECT_NE(loss_of(bf16.model, 0), loss_of(f32.model, 0));
  for (std::size_t i = 0; i < f32.model.parameters().items().size(); ++i) {
    const auto& item = f32.model.parameters().items()[i];
    const auto want = f32.model.parameters().gradient(static_cast<int>(i));
    const auto got = bf16.model.parameters().gradient(static_cast<int>(i));
    std::vector<Real> difference(want.begin(), want.end());
    for (std::size_t k = 0; k < difference.size(); ++k) difference[k] -= got[k];
    if (norm(want) == 0) continue;
    EXPECT_LT(norm(difference), tolerance * norm(want)) << item.name;
  }
}

TEST(Bf16, LossAndEveryGradientAreNearThoseOfF32) { expect_near_f32(mid_config(), 0.02); }

// Queries and keys are rounded before their norm, after it and after the rotation.
TEST(Bf16, SoAreThoseOfAStudentWithGroupedQueries) {
  ModelConfig config = mid_config();
  config.model_type = "qwen3";
  config.kv_lora_rank = config.q_lora_rank = config.n_routed_experts = 0;
  config.num_key_value_heads = 2;
  config.head_dim = 16;
  config.qk_norm = true;
  expect_near_f32(config, 0.03);
}

TEST(Bf16, KeepsAboutHalfTheBytes) {
  const ModelConfig c = job_config();
  Stage f32(c, Precision::F32), bf16(c, Precision::BF16);
  forward(f32.model, 0);
  forward(bf16.model, 0);
  const auto ratio = static_cast<double>(bf16.model.activation_bytes(0)) /
                     static_cast<double>(f32.model.activation_bytes(0));
  EXPECT_LT(ratio, 0.62);
  RecordProperty("ratio", std::to_string(ratio));
}

}  // namespace
}  // namespace weft::trainer

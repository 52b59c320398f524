// Every shape of model against a slow one that shares no code with it: the loss, and each
// parameter's gradient against finite differences of the slow loss. In the double build.
#include <functional>

#include "model_fixture.h"
#include "reference_model.h"

namespace weft::trainer {
namespace {

static_assert(sizeof(Real) == sizeof(double));

constexpr int kSequences = 5;  // of a batch of which the test's is a part

/// Gains, biases and selection biases away from where they start, so that each is seen.
void stir(StageModel& model) {
  const auto items = model.parameters().items();
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].shape.size() != 1) continue;
    Rng rng(9, items[i].name);
    for (Real& x : model.parameters().value(static_cast<int>(i)))
      x += (items[i].trainable ? 0.3 : 0.05) * rng.normal();
  }
  model.parameters().touch();
}

void expect_as_the_reference(const ModelConfig& config, const MicroBatch& batch_in) {
  ASSERT_TRUE(problems(config).empty()) << problems(config)[0];
  Alone alone;
  StageModel model(config, whole(config), *alone.group, alone.context, 64);
  model.initialize(3);
  stir(model);
  ReferenceModel reference(config, model.parameters());
  const std::vector<MicroBatch> batch = {batch_in};
  model.set_micro_batches(batch);
  model.begin_balance(kSequences);
  forward(model, 0);
  const ReferenceModel::Loss expected = reference.loss(batch_in, kSequences);
  EXPECT_NEAR(model.loss_sum(0), expected.main, 1e-11 * std::abs(expected.main));
  EXPECT_NEAR(model.balance_loss(), expected.balance, 1e-12 * (1 + expected.balance));
  backward_input(model, 0);
  backward_weights(model, 0);
  Rng rng(1, "which");
  constexpr double kStep = 1e-5;
  const auto items = model.parameters().items();
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!items[i].trainable) continue;
    for (int trial = 0; trial < 2; ++trial) {
      const auto at = rng.below(static_cast<std::uint32_t>(items[i].size));
      double& x = reference.parameters[items[i].name][at];
      const double kept = x;
      x = kept + kStep;
      const double above = reference.loss(batch_in, kSequences).all();
      x = kept - kStep;
      const double below = reference.loss(batch_in, kSequences).all();
      x = kept;
      const double difference = (above - below) / (2 * kStep);
      EXPECT_NEAR(model.parameters().gradient(static_cast<int>(i))[at], difference,
                  1e-7 + 1e-6 * std::abs(difference))
          << items[i].name << " element " << at;
    }
  }
}

void expect_as_the_reference(const ModelConfig& config) {
  expect_as_the_reference(config, random_batch(config, {5, 1, 4}, 4));
}

Yarn yarn_within(int context) {
  Yarn yarn;
  yarn.factor = 8;
  yarn.beta_fast = 2;
  yarn.beta_slow = 0.3;
  yarn.mscale = 1;
  yarn.mscale_all_dim = 1;
  yarn.original_max_position_embeddings = context;
  return yarn;
}

TEST(SameAsTheReference, DeepSeekV3sShape) {
  ModelConfig config = small_config();
  config.n_routed_experts = 8;
  config.n_group = 4;
  config.topk_group = 2;
  expect_as_the_reference(config);
}

TEST(SameAsTheReference, YarnTurnsTheRotaryPartsAndScalesTheSoftmax) {
  ModelConfig config = small_config();
  config.qk_rope_head_dim = 8;
  config.rope_theta = 50;
  config.yarn = yarn_within(16);
  expect_as_the_reference(config);
  config.yarn.mscale = 0.7;  // queries and keys are scaled too
  expect_as_the_reference(config);
}

TEST(SameAsTheReference, TheBalanceLossPullsAtTheRouter) {
  ModelConfig config = small_config();
  config.num_hidden_layers = 3;
  config.n_routed_experts = 6;
  config.n_group = 3;
  config.topk_group = 2;
  config.aux_loss_alpha = 0.5;
  expect_as_the_reference(config);
}

TEST(SameAsTheReference, PlainQueriesWithoutGroupsAfterSeveralDenseLayers) {
  ModelConfig config = small_config();
  config.num_hidden_layers = 3;
  config.first_k_dense_replace = 2;
  config.q_lora_rank = 0;
  config.n_group = config.topk_group = 1;
  config.norm_topk_prob = false;
  config.n_shared_experts = 0;
  expect_as_the_reference(config);
}

TEST(SameAsTheReference, WithoutASelectionBiasAGroupCountsByItsBest) {
  ModelConfig config = small_config();
  config.selection_bias = false;
  config.n_routed_experts = 8;
  config.n_group = 4;
  config.topk_group = 1;
  expect_as_the_reference(config);
}

TEST(SameAsTheReference, DenseWithLatentAttention) {
  ModelConfig config = small_config();
  config.n_routed_experts = 0;
  expect_as_the_reference(config);
}

TEST(SameAsTheReference, DenseStudents) {
  for (const char* type : {"llama", "qwen2", "qwen3"})
    expect_as_the_reference(student_config(type));
}

TEST(SameAsTheReference, AStudentWithEveryHeadsOwnKeysOrOneForAll) {
  ModelConfig config = student_config("qwen3");
  config.num_key_value_heads = 4;
  expect_as_the_reference(config);
  config.num_key_value_heads = 1;
  expect_as_the_reference(config);
}

TEST(SameAsTheReference, AStudentWithYarnAndTiedEmbeddings) {
  ModelConfig config = student_config("qwen2");
  config.rope_theta = 50;
  config.yarn = yarn_within(16);
  config.yarn.mscale_all_dim = 0;
  config.tie_word_embeddings = true;
  expect_as_the_reference(config);
}

}  // namespace
}  // namespace weft::trainer

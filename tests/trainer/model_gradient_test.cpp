// Every parameter's gradient against finite differences, in the double build.
#include "model_fixture.h"

namespace weft::trainer {
namespace {

static_assert(sizeof(Real) == sizeof(double));

/// Loss in double: the head's float outputs are too coarse for differences.
double loss_at(StageModel& model) {
  forward(model, 0);
  const double loss = model.loss_sum(0);
  model.release(0);
  return loss;
}

void expect_gradients_match(const ModelConfig& config, const MicroBatch& batch_in) {
  Alone alone;
  StageModel model(config, whole(config), *alone.group, alone.context, 64);
  model.initialize(3);
  const std::vector<MicroBatch> train = {batch_in};
  model.set_micro_batches(train);
  forward(model, 0);
  backward_input(model, 0);
  backward_weights(model, 0);
  const std::vector<Real> gradient(model.parameters().gradients().begin(),
                                   model.parameters().gradients().end());
  std::vector<MicroBatch> score = {batch_in};
  score[0].mode = Mode::Score;
  model.set_micro_batches(score);
  Rng rng(1, "which");
  constexpr double kStep = 1e-5;
  for (const Parameter& item : model.parameters().items()) {
    if (!item.trainable) continue;
    double largest = 0;
    // A few elements of each: enough to find a wrong formula, quick enough under a sanitizer.
    for (int trial = 0; trial < 12; ++trial) {
      const auto i =
          static_cast<std::size_t>(item.offset) + rng.below(static_cast<std::uint32_t>(item.size));
      Real& x = model.parameters().values()[i];
      const Real kept = x;
      x = kept + kStep;
      model.parameters().touch();
      const double above = loss_at(model);
      x = kept - kStep;
      model.parameters().touch();
      const double below = loss_at(model);
      x = kept;
      model.parameters().touch();
      const double difference = (above - below) / (2 * kStep);
      EXPECT_NEAR(gradient[i], difference, 1e-7 + 1e-6 * std::abs(difference))
          << item.name << " element " << i - static_cast<std::size_t>(item.offset);
      largest = std::max(largest, std::abs(gradient[i]));
    }
    EXPECT_GT(largest, 0.0) << item.name << " has no gradient at all";
  }
}

TEST(Gradients, CrossEntropyWithLowRankQueries) {
  expect_gradients_match(small_config(), random_batch(small_config(), {5, 1, 7}, 1));
}

TEST(Gradients, CrossEntropyWithPlainQueries) {
  ModelConfig config = small_config();
  config.q_lora_rank = 0;
  expect_gradients_match(config, random_batch(config, {5, 1, 7}, 2));
}

TEST(Gradients, Grpo) {
  MicroBatch batch = random_batch(small_config(), {9, 8}, 3, LossKind::Grpo);
  // On policy the loss stands still while its derivative is kept: nothing for a difference to see.
  for (float& old : batch.old_logprob) old = std::isnan(old) ? -2.3f : old;
  expect_gradients_match(small_config(), batch);
}

TEST(Gradients, UnnormalisedGateWithGroupLimit) {
  ModelConfig config = small_config();
  config.norm_topk_prob = false;
  config.topk_group = 1;
  config.first_k_dense_replace = 0;
  expect_gradients_match(config, random_batch(config, {9, 6}, 4));
}

TEST(Gradients, DenseOnlyAndNoSharedExpert) {
  ModelConfig config = small_config();
  config.first_k_dense_replace = 2;
  expect_gradients_match(config, random_batch(config, {6}, 5));
  config.first_k_dense_replace = 1;
  config.n_shared_experts = 0;
  expect_gradients_match(config, random_batch(config, {6, 17}, 6));
}

}  // namespace
}  // namespace weft::trainer

// Multi-token prediction, in the double build: losses against the reference model, gradients
// against finite differences of them.
#include <numeric>

#include "model_fixture.h"
#include "reference_model.h"

namespace weft::trainer {
namespace {

static_assert(sizeof(Real) == sizeof(double));

ModelConfig config_of_depth(int depth) {
  ModelConfig config = small_config();
  config.num_nextn_predict_layers = depth;
  config.n_group = config.topk_group = 1;
  return config;
}

MicroBatch batch_of(const ModelConfig& config, const std::vector<int>& lengths, float weight) {
  MicroBatch batch = random_batch(config, lengths, 5);
  batch.next_token_weight = weight;
  return batch;
}

StageSpec whole_of(const ModelConfig& config) {
  StageSpec spec = whole(config);
  spec.next_token = config.num_nextn_predict_layers;
  return spec;
}

void forward_all(StageModel& model, int slot) {
  forward(model, slot);
  if (!model.micro_batch(slot).trains_next_tokens()) return;
  for (StageModel* module = model.next_token(); module; module = module->next_token()) {
    module->embed(slot);
    forward(*module, slot);
  }
}

void backward_all(StageModel& model, int slot) {
  std::vector<StageModel*> modules;
  if (model.micro_batch(slot).trains_next_tokens())
    for (StageModel* m = model.next_token(); m; m = m->next_token())
      modules.insert(modules.begin(), m);
  for (StageModel* module : modules) {
    backward_input(*module, slot);
    module->embed_backward_input(slot);
  }
  backward_input(model, slot);
  for (StageModel* module : modules) {
    backward_weights(*module, slot);
    module->embed_backward(slot);
  }
  backward_weights(model, slot);
}

/// A model and its pass over one batch.
struct Trained {
  Alone alone;
  StageModel model;
  std::vector<MicroBatch> batches;

  Trained(const ModelConfig& config, MicroBatch batch, Recompute recompute = Recompute::None)
      : model(config, whole_of(config), *alone.group, alone.context, 64, recompute),
        batches{std::move(batch)} {
    model.initialize(3);
    // Gains of one would hide which norm is whose. The modules' are drawn last.
    Rng rng(8, "gains");
    for (int i = 0; i < static_cast<int>(model.parameters().items().size()); ++i) {
      const Parameter& item = model.parameters().items()[static_cast<std::size_t>(i)];
      if (item.shape.size() > 1 || !item.trainable) continue;
      for (Real& x : model.parameters().value(i)) x = 0.7 + 0.6 * rng.uniform();
    }
    model.set_micro_batches(batches);
  }

  void pass() {
    forward_all(model, 0);
    backward_all(model, 0);
    model.release(0);
  }
  std::vector<Real> gradients() {
    const auto all = model.parameters().gradients();
    return {all.begin(), all.end()};
  }
  /// Of the main model, then of each depth; theirs with the factor in it.
  std::vector<double> losses() {
    forward_all(model, 0);
    std::vector<double> sums = {model.loss_sum(0)};
    if (batches[0].trains_next_tokens())
      for (StageModel* m = model.next_token(); m; m = m->next_token())
        sums.push_back(m->loss_sum(0));
    model.release(0);
    return sums;
  }
};

const std::vector<int> kLengths = {5, 1, 7, 2, 3};

TEST(NextToken, LossesOfEveryDepthAreThoseOfTheReferenceModel) {
  for (const int depth : {1, 2, 3}) {
    const ModelConfig config = config_of_depth(depth);
    const float weight = 0.3f;
    Trained trained(config, batch_of(config, kLengths, weight));
    const std::vector<double> got = trained.losses();
    const std::vector<double> want =
        ReferenceModel(config, trained.model.parameters()).depth_losses(trained.batches[0]);
    ASSERT_EQ(got.size(), want.size());
    EXPECT_NEAR(got[0], want[0], 1e-9);
    for (int k = 1; k <= depth; ++k) {
      const auto at = static_cast<std::size_t>(k);
      EXPECT_GT(want[at], 0);
      EXPECT_NEAR(got[at], want[at] * weight / depth, 1e-6 * want[at]) << "depth " << k;
    }
  }
}

TEST(NextToken, GradientsAreThoseOfTheWeightedSumOfLosses) {
  for (const int depth : {1, 2}) {
    const ModelConfig config = config_of_depth(depth);
    Trained trained(config, batch_of(config, kLengths, 0.7f));
    trained.pass();
    const std::vector<Real> gradient = trained.gradients();
    const auto loss = [&] {
      trained.model.parameters().touch();
      const auto sums = trained.losses();
      return std::accumulate(sums.begin(), sums.end(), 0.0);
    };
    Rng rng(1, "which");
    constexpr double kStep = 1e-5;
    for (const Parameter& item : trained.model.parameters().items()) {
      if (!item.trainable) continue;
      double largest = 0;
      for (int trial = 0; trial < 6; ++trial) {
        const auto i = static_cast<std::size_t>(item.offset) +
                       rng.below(static_cast<std::uint32_t>(item.size));
        Real& x = trained.model.parameters().values()[i];
        const Real kept = x;
        x = kept + kStep;
        const double above = loss();
        x = kept - kStep;
        const double below = loss();
        x = kept;
        const double difference = (above - below) / (2 * kStep);
        EXPECT_NEAR(gradient[i], difference, 2e-7 + 1e-6 * std::abs(difference))
            << item.name << " element " << i - static_cast<std::size_t>(item.offset);
        largest = std::max(largest, std::abs(gradient[i]));
      }
      // Of the experts, some are chosen by no token.
      EXPECT_TRUE(item.expert || largest > 0) << item.name << " has no gradient at all";
    }
  }
}

TEST(NextToken, RecomputationChangesNoBit) {
  const ModelConfig config = config_of_depth(2);
  Trained kept(config, batch_of(config, kLengths, 0.3f));
  kept.pass();
  for (const Recompute recompute : {Recompute::MlaUp, Recompute::Full}) {
    Trained again(config, batch_of(config, kLengths, 0.3f), recompute);
    again.pass();
    EXPECT_EQ(again.gradients(), kept.gradients()) << to_string(recompute);
    EXPECT_EQ(again.model.activation_bytes().live, 0u);
  }
}

TEST(NextToken, WithoutWeightTheMainModelLearnsAsIfThereWereNone) {
  const ModelConfig config = config_of_depth(2), plain = config_of_depth(0);
  Trained with(config, batch_of(config, kLengths, 0.0f));
  Trained without(plain, batch_of(plain, kLengths, 0.0f));
  with.pass();
  without.pass();
  EXPECT_EQ(with.losses()[0], without.losses()[0]);
  for (int i = 0; i < static_cast<int>(with.model.parameters().items().size()); ++i) {
    const Parameter& item = with.model.parameters().items()[static_cast<std::size_t>(i)];
    const auto gradient = with.model.parameters().gradient(i);
    const Parameter* other = without.model.parameters().find(item.name);
    if (other == nullptr) {
      EXPECT_TRUE(std::ranges::all_of(gradient, [](Real g) { return g == 0; })) << item.name;
      continue;
    }
    const Real* theirs = without.model.parameters().gradients().data() + other->offset;
    EXPECT_TRUE(std::equal(gradient.begin(), gradient.end(), theirs)) << item.name;
  }
}

TEST(NextToken, TheMainLossIsTheSameWithAndWithoutModules) {
  const ModelConfig config = config_of_depth(1);
  Trained with(config, batch_of(config, kLengths, 0.3f));
  Trained without(config, batch_of(config, kLengths, 0.0f));
  EXPECT_EQ(with.losses()[0], without.losses()[0]);
}

TEST(NextToken, SequencesTooShortForADepthAreLeftOut) {
  const ModelConfig config = config_of_depth(2);
  Trained trained(config, batch_of(config, {1, 2, 1}, 0.3f));
  trained.pass();
  const std::vector<double> losses = trained.losses();
  EXPECT_EQ(losses[2], 0.0);
  EXPECT_EQ(trained.model.next_token()->micro_batch(0).num_tokens(), 1);
  EXPECT_EQ(trained.model.next_token()->next_token()->micro_batch(0).num_tokens(), 0);
}

TEST(NextToken, LoadIsCountedForTheTokensThatADepthHas) {
  const ModelConfig config = config_of_depth(1);
  Trained trained(config, batch_of(config, {5, 4}, 0.3f));
  trained.pass();
  const auto load = trained.model.next_token()->expert_load(0);
  EXPECT_EQ(std::accumulate(load.begin(), load.end(), 0.0), (4 + 3) * config.num_experts_per_tok);
}

}  // namespace
}  // namespace weft::trainer

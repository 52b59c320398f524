// The main job's pre-training in BF16 and in F32, on one rank (layouts do not change it): the loss
// that is reached. WEFT_STEPS asks for another number of steps, at most the job's 2400.
//
// The first 72 steps are compared, where the loss falls from 6 to 0.7. Behind them it falls by
// leaps whose moment any rounding shifts: two F32 runs that only cut their micro-batches
// differently are then up to 13 % apart for some tens of steps, and BF16 is as far from them, to
// either side.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numbers>

#include "model_fixture.h"
#include "trainer/data/example.h"
#include "trainer/data/pack.h"
#include "trainer/optimizer/adamw.h"

namespace weft::trainer {
namespace {

constexpr int kAllSteps = 2400, kWarmup = 20;

int steps() {
  const char* asked = std::getenv("WEFT_STEPS");
  return asked != nullptr ? std::clamp(std::atoi(asked), 1, kAllSteps) : 72;
}

/// deploy/jobs/r1-zero-arithmetic.yaml.
ModelConfig main_job() {
  ModelConfig c = job_config();
  c.moe_intermediate_size = 96;
  c.qk_rope_head_dim = 16;
  c.rope_theta = 100;
  c.initializer_range = 0.08;
  c.max_position_embeddings = 128;
  return c;
}

double learning_rate(int step) {
  if (step < kWarmup) return 1.5e-3 * (step + 1) / kWarmup;
  const double done = static_cast<double>(step - kWarmup) / (kAllSteps - kWarmup);
  return 1e-4 + 0.5 * (1.5e-3 - 1e-4) * (1 + std::cos(std::numbers::pi * done));
}

constexpr std::size_t kParts = 3;

/// Mean loss of each third of the steps.
template <class Moment>
std::vector<double> learn(Precision precision, int num_steps) {
  const auto tokenizer = data::Tokenizer::byte_level(99).value();
  const auto task = data::make_task("arithmetic", 2, 6).value();
  Alone alone;
  const ModelConfig c = main_job();
  StageModel model(c, whole(c), *alone.group, alone.context, 4096, Recompute::None, {}, precision);
  model.initialize(1);
  ParameterSet& set = model.parameters();
  std::vector<Moment> first(set.values().size()), second(first.size());
  std::vector<double> losses(kParts);
  for (int step = 0; step < num_steps; ++step) {
    std::vector<data::Example> examples;
    for (std::uint64_t i = 0; i < 16; ++i) {
      examples.push_back(
          data::pretrain_example(*task, tokenizer, 1, static_cast<std::uint64_t>(step), i));
    }
    const auto batches = data::pack_supervised(examples, 4).value();
    set.zero_gradients();
    model.clear_expert_load();
    model.set_micro_batches(batches);
    double loss = 0;
    for (int slot = 0; slot < 4; ++slot) {
      forward(model, slot);
      loss += model.loss_sum(slot);
      backward_input(model, slot);
      backward_weights(model, slot);
      model.release(slot);
    }
    losses[static_cast<std::size_t>(step) * kParts / static_cast<std::size_t>(num_steps)] +=
        static_cast<double>(kParts) * loss / num_steps;
    const double norm = std::sqrt(optimizer::squared_norm(set.gradients()));
    for (const Parameter& item : set.items()) {
      if (!item.trainable) continue;
      const auto at = static_cast<std::size_t>(item.offset);
      const auto size = static_cast<std::size_t>(item.size);
      optimizer::adamw<Moment>(
          set.values().subspan(at, size), set.gradients().subspan(at, size),
          std::span(first).subspan(at, size), std::span(second).subspan(at, size),
          {.lr = learning_rate(step), .weight_decay = item.decay ? 0.1 : 0.0, .step = step + 1},
          std::min(1.0, 1 / norm));
    }
    for (int layer = 0; layer < c.num_hidden_layers; ++layer) {
      if (c.is_moe(layer)) model.update_selection_bias(layer, model.expert_load(layer), 1e-3);
    }
    set.touch();
  }
  return losses;
}

// Kept and multiplied in BF16, with moments in either dtype.
TEST(Bf16, LearnsTheMainJobWithinOnePercentOfTheLossInF32) {
  const int n = steps();
  const std::vector<double> f32 = learn<Real>(Precision::F32, n);
  const std::vector<double> bf16 = learn<Real>(Precision::BF16, n);
  const std::vector<double> moments = learn<Bf16>(Precision::BF16, n);
  for (std::size_t i = 0; i < f32.size(); ++i) {
    std::printf("steps to %5zu: f32 %.5f  bf16 %.5f (%+.2f %%)  and its moments %.5f (%+.2f %%)\n",
                (i + 1) * static_cast<std::size_t>(n) / kParts, f32[i], bf16[i],
                100 * (bf16[i] / f32[i] - 1), moments[i], 100 * (moments[i] / f32[i] - 1));
    EXPECT_NEAR(bf16[i], f32[i], 0.01 * f32[i]);
    EXPECT_NEAR(moments[i], f32[i], 0.01 * f32[i]);
  }
}

}  // namespace
}  // namespace weft::trainer

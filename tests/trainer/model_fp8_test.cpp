// FP8 in a whole stage: which products are made of it, what is kept in it, and that nothing else
// about the numbers changes.
#include <algorithm>
#include <cmath>

#include "model_fixture.h"
#include "trainer/kernels/e5m6.h"
#include "trainer/model/linear.h"

namespace weft::trainer {
namespace {

using kernels::Fp8Scale;

/// Ragged everywhere: no width is a multiple of 128, two are above it.
ModelConfig fp8_config() {
  ModelConfig c;
  c.vocab_size = 40;
  c.hidden_size = 144;
  c.intermediate_size = 136;
  c.moe_intermediate_size = 40;
  c.num_hidden_layers = 3;
  c.num_attention_heads = 4;
  c.q_lora_rank = 48;
  c.kv_lora_rank = 36;
  c.initializer_range = 0.06;
  return c;
}

struct Result {
  std::vector<Real> gradients;
  std::vector<std::vector<float>> losses;
  double loss = 0;
};

struct Options {
  Precision precision = Precision::FP8;
  Recompute recompute = Recompute::None;
  bool late = false;  // all weight gradients after all input gradients
  Fp8Options fp8;
  comm::ExchangeOptions exchange;
  int threads = 1;
};

Result train(const ModelConfig& config, const Options& options = {}) {
  Alone alone(options.threads);
  StageModel model(config, whole(config), *alone.group, alone.context, 256, options.recompute,
                   options.exchange, options.precision, options.fp8);
  model.initialize(5);
  const std::vector<MicroBatch> batches = {random_batch(config, {90, 53, 3}, 1),
                                           random_batch(config, {31}, 2, LossKind::Grpo)};
  model.set_micro_batches(batches);
  const int slots = static_cast<int>(batches.size());
  for (int slot = 0; slot < slots; ++slot) forward(model, slot);
  for (int slot = 0; slot < slots; ++slot) {
    backward_input(model, slot);
    if (!options.late) backward_weights(model, slot);
    if (!options.late) model.release(slot);
  }
  for (int slot = 0; options.late && slot < slots; ++slot) {
    backward_weights(model, slot);
    model.release(slot);
  }
  EXPECT_EQ(model.activation_bytes().live, 0u);
  Result run;
  const auto gradients = model.parameters().gradients();
  run.gradients.assign(gradients.begin(), gradients.end());
  for (int slot = 0; slot < slots; ++slot) run.losses.push_back(model.head_output(slot).loss);
  run.loss = loss_of(model, 0);
  return run;
}

TEST(Fp8Model, MultipliesTheListedModulesInE4m3AndNoOther) {
  for (const LinearKind kind : {LinearKind::QDown, LinearKind::QUp, LinearKind::KvDown,
                                LinearKind::KvUp, LinearKind::AttentionOut, LinearKind::MlpGateUp,
                                LinearKind::MlpDown, LinearKind::ExpertGateUp,
                                LinearKind::ExpertDown}) {
    EXPECT_EQ(operands_of(kind, Precision::FP8), Operands::E4M3);
    EXPECT_EQ(operands_of(kind, Precision::BF16), Operands::BF16);
  }
  EXPECT_EQ(operands_of(LinearKind::Gate, Precision::FP8), Operands::F32);
  EXPECT_EQ(operands_of(LinearKind::Embedding, Precision::FP8), Operands::F32);
  EXPECT_EQ(operands_of(LinearKind::Head, Precision::FP8), Operands::BF16);
}

TEST(Fp8Model, RecomputationAndLateWeightsChangeNoBit) {
  for (const int q_lora_rank : {48, 0}) {
    ModelConfig config = fp8_config();
    config.q_lora_rank = q_lora_rank;
    const Result plain = train(config);
    for (const Recompute recompute : {Recompute::None, Recompute::MlaUp, Recompute::Full}) {
      for (const bool late : {false, true}) {
        SCOPED_TRACE(std::string(to_string(recompute)) + (late ? ", late weights" : ""));
        Options options;
        options.recompute = recompute;
        options.late = late;
        const Result run = train(config, options);
        EXPECT_EQ(run.losses, plain.losses);
        EXPECT_EQ(run.gradients, plain.gradients);
      }
    }
  }
}

TEST(Fp8Model, ThreadsChangeNoBit) {
  Options two;
  two.threads = 2;
  const Result a = train(fp8_config()), b = train(fp8_config(), two);
  EXPECT_EQ(a.losses, b.losses);
  EXPECT_EQ(a.gradients, b.gradients);
}

double norm(std::span<const Real> x) {
  double sum = 0;
  for (const Real v : x) sum += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(sum);
}

double difference(const Result& a, const Result& b) {
  std::vector<Real> d(a.gradients);
  for (std::size_t i = 0; i < d.size(); ++i) d[i] -= b.gradients[i];
  return norm(d) / norm(b.gradients);
}

TEST(Fp8Model, IsNearBf16) {
  Options bf16, power;
  bf16.precision = Precision::BF16;
  power.fp8.scales = Fp8Scale::PowerOfTwo;
  const Result want = train(fp8_config(), bf16), got = train(fp8_config()),
            scaled = train(fp8_config(), power);
  RecordProperty("loss", std::to_string(got.loss / want.loss));
  RecordProperty("gradient", std::to_string(difference(got, want)));
  printf("%g %g; %g %g\n", got.loss/want.loss, difference(got,want), scaled.loss/want.loss, difference(scaled,want));
  EXPECT_NEAR(got.loss, want.loss, 0.005 * want.loss);
  EXPECT_NEAR(scaled.loss, want.loss, 0.005 * want.loss);
  EXPECT_NE(got.loss, want.loss);
  EXPECT_NE(got.loss, scaled.loss);
  EXPECT_LT(difference(got, want), 0.15);
  EXPECT_LT(difference(scaled, want), 0.15);
}

}  // namespace
}  // namespace weft::trainer

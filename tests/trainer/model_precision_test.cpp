// BF16 against F32: how near, how much smaller, and the promises that hold in every precision.
#include <algorithm>
#include <cmath>

#include "model_fixture.h"

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
        std::vector<int> lengths = {17, 9, 30}, std::uint64_t seed = 3)
      : model(c, {0, c.num_hidden_layers, true, true}, *group, context, 256, recompute, {},
              precision) {
    model.initialize(seed);
    batches = {random_batch(c, lengths, 5)};
    model.set_micro_batches(batches);
  }
  std::vector<double> loads() {
    std::vector<double> all;
    for (int l = 0; l < model.spec().num_layers; ++l) {
      const auto load = model.expert_load(l);
      all.insert(all.end(), load.begin(), load.end());
    }
    return all;
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

// One rounding to BF16 is off by at most 2^-8 of a number, 0.16 % in the mean square; a gradient
// passes some ten of them a block, which add up as a random walk: 0.16 % * sqrt(30) is about 1 %.
// Twice that is allowed.
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

// Every expert is chosen: where two scores are near, one rounding elsewhere sends a token to
// another expert, and no tolerance would say anything.
TEST(Bf16, LossAndEveryGradientAreNearThoseOfF32) {
  ModelConfig config = mid_config();
  config.num_experts_per_tok = config.n_routed_experts;
  expect_near_f32(config, 0.02);
}

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

TEST(Bf16, RecomputationChangesNoBit) {
  std::vector<Real> want;
  std::size_t kept = 0;
  for (const Recompute mode : {Recompute::None, Recompute::MlaUp, Recompute::Full}) {
    Stage stage(mid_config(), Precision::BF16, mode);
    forward(stage.model, 0);
    const std::size_t bytes = stage.model.activation_bytes(0);
    EXPECT_TRUE(mode == Recompute::None || bytes < kept);
    kept = bytes;
    backward_input(stage.model, 0);
    backward_weights(stage.model, 0);
    const auto gradients = stage.model.parameters().gradients();
    if (mode == Recompute::None) want.assign(gradients.begin(), gradients.end());
    EXPECT_TRUE(std::ranges::equal(gradients, want)) << to_string(mode);
  }
}

TEST(Bf16, LogProbabilitiesDoNotDependOnHowSequencesArePacked) {
  const ModelConfig c = mid_config();
  Stage packed(c, Precision::BF16);
  packed.batches[0].mode = Mode::Score;
  forward(packed.model, 0);
  const MicroBatch& all = packed.batches[0];
  for (int s = 0; s < all.num_sequences(); ++s) {
    const auto begin = all.sequence_begin[static_cast<std::size_t>(s)];
    const auto end = all.sequence_begin[static_cast<std::size_t>(s) + 1];
    Stage alone(c, Precision::BF16, Recompute::None, {end - begin});
    MicroBatch& one = alone.batches[0];
    one.mode = Mode::Score;
    std::copy_n(all.tokens.begin() + begin, end - begin, one.tokens.begin());
    std::copy_n(all.targets.begin() + begin, end - begin, one.targets.begin());
    forward(alone.model, 0);
    const auto& got = alone.model.head_output(0).logprob;
    EXPECT_TRUE(
        std::equal(got.begin(), got.end(), packed.model.head_output(0).logprob.begin() + begin))
        << "sequence " << s;
  }
}

// The absorbed form multiplies other numbers in another order: some roundings differ, each by up to
// 2^-8.
TEST(Bf16, DecodingIsNearTheFullForward) {
  const ModelConfig c = mid_config();
  Stage full(c, Precision::BF16, Recompute::None, {12}), cached(c, Precision::BF16);
  MicroBatch& all = full.batches[0];
  all.mode = Mode::Score;
  for (std::size_t t = 0; t + 1 < all.tokens.size(); ++t) all.targets[t] = all.tokens[t + 1];
  forward(full.model, 0);
  MicroBatch one = random_batch(c, {1}, 1);
  one.mode = Mode::Decode;
  cached.model.open_cache(0, 1, 12);
  for (std::size_t t = 0; t + 1 < all.tokens.size(); ++t) {
    one.tokens[0] = all.tokens[t];
    one.positions[0] = static_cast<int>(t);
    const std::vector<MicroBatch> batches = {one};
    cached.model.set_micro_batches(batches);
    forward(cached.model, 0);
    const auto logits = cached.model.logits(0);
    double sum = 0;
    for (const Real x : logits) sum += std::exp(static_cast<double>(x));
    const double logprob =
        static_cast<double>(logits[static_cast<std::size_t>(all.tokens[t + 1])]) - std::log(sum);
    EXPECT_NEAR(logprob, full.model.head_output(0).logprob[t], 0.05) << t;
    cached.model.release(0);
  }
}

TEST(Precision, NamesAreReadAndOthersRefused) {
  for (const Precision p : {Precision::F32, Precision::BF16, Precision::FP8}) {
    EXPECT_EQ(*parse_precision(to_string(p)), p);
  }
  EXPECT_EQ(parse_precision("half").error().message,
            "'half' is no precision; choose f32, bf16 or fp8");
  EXPECT_TRUE(check_precision(Precision::F32));
  EXPECT_EQ(check_precision(Precision::FP8).has_value(),
            check_precision(Precision::BF16).has_value());
}

}  // namespace
}  // namespace weft::trainer

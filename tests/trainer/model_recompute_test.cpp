// Recomputation changes memory and time, and no number.
#include <map>

#include "model_fixture.h"
#include "trainer/model/arena.h"

namespace weft::trainer {
namespace {

constexpr Recompute kModes[] = {Recompute::None, Recompute::MlaUp, Recompute::Full};

ModelConfig recompute_config() {
  ModelConfig c = small_config();
  c.hidden_size = 40;
  c.vocab_size = 50;
  c.num_hidden_layers = 4;
  c.first_k_dense_replace = 2;
  c.n_routed_experts = 8;
  c.num_experts_per_tok = 3;
  c.initializer_range = 0.15;
  return c;
}

struct Result {
  std::vector<Real> gradients;
  std::vector<std::vector<float>> losses;
  std::vector<double> load;
};

/// Three micro-batches in flight; `late`: all weight gradients after all input gradients, as
/// zero-bubble schedules have it.
Result train(const ModelConfig& config, Recompute recompute, bool late) {
  Alone alone;
  StageModel model(config, whole(config), *alone.group, alone.context, 64, recompute);
  model.initialize(5);
  const std::vector<MicroBatch> batches = {random_batch(config, {9, 20, 3}, 1),
                                           random_batch(config, {31}, 2, LossKind::Grpo),
                                           random_batch(config, {1, 2}, 3)};
  model.set_micro_batches(batches);
  const int slots = static_cast<int>(batches.size());
  for (int slot = 0; slot < slots; ++slot) forward(model, slot);
  for (int slot = 0; slot < slots; ++slot) {
    backward_input(model, slot);
    if (!late) backward_weights(model, slot);
    if (!late) model.release(slot);
  }
  for (int slot = 0; late && slot < slots; ++slot) {
    backward_weights(model, slot);
    model.release(slot);
  }
  EXPECT_EQ(model.activation_bytes().live, 0u);
  Result result;
  const auto gradients = model.parameters().gradients();
  result.gradients.assign(gradients.begin(), gradients.end());
  for (int slot = 0; slot < slots; ++slot) result.losses.push_back(model.head_output(slot).loss);
  const auto load = model.expert_load(config.num_hidden_layers - 1);
  result.load.assign(load.begin(), load.end());
  return result;
}

void expect_same_numbers(const ModelConfig& config) {
  const Result plain = train(config, Recompute::None, false);
  for (const Recompute recompute : kModes) {
    for (const bool late : {false, true}) {
      SCOPED_TRACE(std::string(to_string(recompute)) + (late ? ", late weights" : ""));
      const Result result = train(config, recompute, late);
      EXPECT_EQ(result.losses, plain.losses);
      EXPECT_EQ(result.gradients, plain.gradients);
      EXPECT_EQ(result.load, plain.load);
    }
  }
}

TEST(Recompute, ChangesNoBitOfLossesGradientsOrLoads) { expect_same_numbers(recompute_config()); }

TEST(Recompute, ChangesNoBitWithoutALowRankOfQueries) {
  ModelConfig config = recompute_config();
  config.q_lora_rank = 0;
  expect_same_numbers(config);
}

TEST(Recompute, ChangesNoBitWithoutSharedExpertsOrNormalisedGates) {
  ModelConfig config = recompute_config();
  config.n_shared_experts = 0;
  config.norm_topk_prob = false;
  config.first_k_dense_replace = 0;
  expect_same_numbers(config);
}

/// Bytes that one slot holds between its forward and its backward.
std::size_t kept(const ModelConfig& config, Recompute recompute, const MicroBatch& batch) {
  Alone alone;
  StageModel model(config, {0, config.num_hidden_layers, true, false}, *alone.group, alone.context,
                   64, recompute);
  model.initialize(5);
  const std::vector<MicroBatch> batches = {batch};
  model.set_micro_batches(batches);
  forward(model, 0);
  EXPECT_EQ(model.activation_bytes().live, model.activation_bytes(0));
  return model.activation_bytes(0);
}

ModelConfig round_config() {
  ModelConfig c = recompute_config();
  c.hidden_size = c.intermediate_size = 32;
  c.moe_intermediate_size = 16;
  c.num_attention_heads = 4;
  c.q_lora_rank = c.kv_lora_rank = 16;
  c.qk_nope_head_dim = c.v_head_dim = 8;
  c.qk_rope_head_dim = 4;
  return c;
}

TEST(Recompute, KeepsWhatItsNameSays) {
  const ModelConfig config = round_config();
  const MicroBatch batch = random_batch(config, {32, 32}, 1);
  const std::size_t none = kept(config, Recompute::None, batch);
  const std::size_t mla_up = kept(config, Recompute::MlaUp, batch);
  const std::size_t full = kept(config, Recompute::Full, batch);
  // Per token and layer: two norms of the stream, both latents' norms, queries, keys and values.
  const int heads = config.num_attention_heads;
  const int qk = config.qk_nope_head_dim + config.qk_rope_head_dim;
  const int dropped = 2 * config.hidden_size + config.q_lora_rank + config.kv_lora_rank +
                      heads * qk + heads * (config.qk_nope_head_dim + config.v_head_dim) +
                      config.qk_rope_head_dim;
  EXPECT_EQ(none - mla_up,
            sizeof(Real) * 64 * static_cast<std::size_t>(dropped * config.num_hidden_layers));
  // Each block's input, and what the stage hands on.
  EXPECT_EQ(full,
            sizeof(Real) * 64 *
                static_cast<std::size_t>(config.hidden_size * (config.num_hidden_layers + 1)));
  EXPECT_GT(mla_up, 4 * full);
}

/// The most bytes that were live at once with `slots` micro-batches in flight.
std::size_t peak(Recompute recompute, int slots) {
  const ModelConfig config = round_config();
  Alone alone;
  StageModel model(config, {0, config.num_hidden_layers, true, true}, *alone.group, alone.context,
                   64, recompute);
  model.initialize(5);
  constexpr int kAll = 5;
  const std::vector<MicroBatch> batches(kAll, random_batch(config, {32, 32}, 1));
  model.set_micro_batches(batches);
  for (int slot = 0; slot < kAll + slots; ++slot) {
    if (slot >= slots) {
      backward_input(model, slot - slots);
      backward_weights(model, slot - slots);
      model.release(slot - slots);
    }
    if (slot < kAll) forward(model, slot);
  }
  EXPECT_EQ(model.activation_bytes().live, 0u);
  // What was taken from the system follows the peak, whatever shapes came and went.
  EXPECT_LT(model.activation_bytes().reserved, 5 * model.activation_bytes().peak / 4);
  return model.activation_bytes().peak;
}

TEST(Recompute, ThePeakShrinksAndWhatIsMadeAgainExistsOnce) {
  std::size_t before = 0;
  std::map<Recompute, std::size_t> most;
  for (const Recompute recompute : {Recompute::Full, Recompute::MlaUp, Recompute::None}) {
    SCOPED_TRACE(to_string(recompute));
    const std::size_t two = peak(recompute, 2), three = peak(recompute, 3),
                      four = peak(recompute, 4);
    // One micro-batch more costs what it keeps; the memory of the backward is shared.
    EXPECT_EQ(four - three, three - two);
    EXPECT_GT(four - three, before);
    before = four - three;
    most[recompute] = four;
  }
  EXPECT_LT(most[Recompute::MlaUp], most[Recompute::None]);
  EXPECT_LT(2 * most[Recompute::Full], most[Recompute::None]);
}

TEST(Recompute, AForwardAloneKeepsNoBlockInAnyMode) {
  const ModelConfig config = round_config();
  std::vector<MicroBatch> batches = {random_batch(config, {32, 32}, 1)};
  std::vector<float> logprob;
  for (const Recompute recompute : kModes) {
    Alone alone;
    StageModel model(config, whole(config), *alone.group, alone.context, 64, recompute);
    model.initialize(5);
    batches[0].mode = Mode::Score;
    model.set_micro_batches(batches);
    forward(model, 0);
    EXPECT_EQ(model.activation_bytes(0),
              sizeof(Real) * 64 *
                  static_cast<std::size_t>(config.hidden_size * (config.num_hidden_layers + 1)));
    if (recompute != Recompute::None) {
      EXPECT_EQ(model.head_output(0).logprob, logprob);
    }
    logprob = model.head_output(0).logprob;
  }
}

TEST(Arena, HandsABlockOnAndCounts) {
  Arena arena;
  Buffer<Real> a, b;
  Real* first = a.get(arena, 100);
  EXPECT_EQ(arena.live_bytes(), a.bytes());
  EXPECT_EQ(a.bytes(), 100 * sizeof(Real));
  EXPECT_LE(arena.reserved_bytes(), 113 * sizeof(Real));
  EXPECT_EQ(a.get(arena, 90), first);
  a.drop(arena);
  EXPECT_FALSE(a.held());
  EXPECT_EQ(arena.live_bytes(), 0u);
  EXPECT_EQ(b.get(arena, 60), first);  // a free block of up to twice the size will do
  EXPECT_NE(a.get(arena, 60), first);
  EXPECT_EQ(arena.peak_bytes(), a.bytes() + b.bytes());
  EXPECT_GE(arena.reserved_bytes(), a.bytes() + b.bytes());
  for (std::size_t n = 1; n < 5000; ++n) {
    const Arena::Block block = arena.take(n);
    EXPECT_GE(block.size, n);
    arena.give(block);
  }
}

TEST(Recompute, NamesAreReadAndOthersRefused) {
  for (const Recompute r : kModes) EXPECT_EQ(*parse_recompute(to_string(r)), r);
  const auto wrong = parse_recompute("selective");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message, "unknown recomputation 'selective'; none, mla_up or full");
}

}  // namespace
}  // namespace weft::trainer

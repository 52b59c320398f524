// What a stage promises whatever the layout: chained stages, sharded experts, cached decoding.
#include <thread>

#include "comm/local/local_transport.h"
#include "model_fixture.h"

namespace weft::trainer {
namespace {

std::vector<Real> gradient_of(const StageModel& model, std::string_view name) {
  auto& set = const_cast<StageModel&>(model).parameters();
  const Parameter* item = set.find(name);
  if (item == nullptr) return {};
  const auto part = set.gradients().subspan(static_cast<std::size_t>(item->offset),
                                            static_cast<std::size_t>(item->size));
  return {part.begin(), part.end()};
}

void train(StageModel& model, const std::vector<MicroBatch>& batches) {
  model.set_micro_batches(batches);
  model.parameters().zero_gradients();
  for (int slot = 0; slot < static_cast<int>(batches.size()); ++slot) {
    forward(model, slot);
    backward_input(model, slot);
    backward_weights(model, slot);
    model.release(slot);
  }
}

/// Small numbers, but several layers, experts and vectors wide.
ModelConfig medium_config() {
  ModelConfig c = small_config();
  c.hidden_size = 40;
  c.vocab_size = 50;
  c.num_hidden_layers = 4;
  c.n_routed_experts = 8;
  c.topk_group = 1;
  c.initializer_range = 0.15;
  return c;
}

TEST(StageModel, TwoChainedStagesEqualOneBitForBit) {
  const ModelConfig config = medium_config();
  const std::vector<MicroBatch> batches = {random_batch(config, {9, 20, 3}, 1)};
  Alone alone;
  StageModel one(config, whole(config), *alone.group, alone.context, 64);
  StageModel first(config, {0, 2, true, false}, *alone.group, alone.context, 64);
  StageModel second(config, {2, 2, false, true}, *alone.group, alone.context, 64);
  for (StageModel* model : {&one, &first, &second}) model->initialize(5);
  train(one, batches);

  first.set_micro_batches(batches);
  second.set_micro_batches(batches);
  forward(first, 0);
  const auto sent = first.output(0);
  std::copy(sent.begin(), sent.end(), second.input(0).begin());
  forward(second, 0);
  backward_input(second, 0);
  const auto back = second.input_gradient(0);
  std::copy(back.begin(), back.end(), first.output_gradient(0).begin());
  backward_input(first, 0);
  backward_weights(second, 0);
  backward_weights(first, 0);

  EXPECT_EQ(one.head_output(0).loss, second.head_output(0).loss);
  for (const StageModel* part : {&first, &second}) {
    for (const Parameter& item : part->parameters().items()) {
      EXPECT_EQ(gradient_of(*part, item.name), gradient_of(one, item.name)) << item.name;
    }
  }
}

TEST(StageModel, InitialValuesDoNotDependOnTheLayout) {
  const ModelConfig config = medium_config();
  Alone alone;
  StageModel one(config, whole(config), *alone.group, alone.context, 64);
  StageModel part(config, {2, 2, false, true}, *alone.group, alone.context, 64);
  one.initialize(5);
  part.initialize(5);
  for (std::size_t i = 0; i < part.parameters().items().size(); ++i) {
    const Parameter& item = part.parameters().items()[i];
    const Parameter* same = one.parameters().find(item.name);
    ASSERT_NE(same, nullptr) << item.name;
    const auto value = part.parameters().value(static_cast<int>(i));
    EXPECT_TRUE(
        std::equal(value.begin(), value.end(), one.parameters().values().begin() + same->offset))
        << item.name;
    if (item.shape.size() > 1) continue;
    EXPECT_EQ(value[0], item.trainable ? Real(1) : Real(0)) << item.name;
  }
}

TEST(StageModel, ScoreLeavesWhatTrainLeaves) {
  const ModelConfig config = medium_config();
  Alone alone;
  StageModel model(config, whole(config), *alone.group, alone.context, 64);
  model.initialize(5);
  std::vector<MicroBatch> batches = {random_batch(config, {9, 20}, 1, LossKind::Grpo)};
  train(model, batches);
  const HeadOutput trained = model.head_output(0);
  batches[0].mode = Mode::Score;
  model.set_micro_batches(batches);
  forward(model, 0);
  model.release(0);
  EXPECT_EQ(model.head_output(0).logprob, trained.logprob);
  EXPECT_EQ(model.head_output(0).loss, trained.loss);
  EXPECT_EQ(model.head_output(0).kl, trained.kl);
  EXPECT_EQ(model.head_output(0).clipped, trained.clipped);
}

TEST(StageModel, ASequenceDoesNotDependOnItsNeighbours) {
  const ModelConfig config = medium_config();
  Alone alone;
  StageModel model(config, whole(config), *alone.group, alone.context, 64);
  model.initialize(5);
  std::vector<MicroBatch> batches = {random_batch(config, {9, 20, 3}, 1), {}};
  MicroBatch& single = batches[1];
  const MicroBatch& all = batches[0];
  const auto cut = [](const auto& values) {
    return std::vector(values.begin() + 9, values.begin() + 29);
  };
  single.tokens = cut(all.tokens);
  single.positions = cut(all.positions);
  single.targets = cut(all.targets);
  single.weight = cut(all.weight);
  single.sequence_begin = {0, 20};
  single.sequence_id = {1};
  train(model, batches);
  EXPECT_EQ(model.head_output(1).logprob, cut(model.head_output(0).logprob));
}

TEST(StageModel, OnPolicyGrpoPushesWithRatioOne) {
  const ModelConfig config = medium_config();
  Alone alone;
  StageModel model(config, whole(config), *alone.group, alone.context, 64);
  model.initialize(5);
  std::vector<MicroBatch> batches = {random_batch(config, {9, 20}, 1, LossKind::Grpo)};
  for (float& old : batches[0].old_logprob) old = std::nanf("");
  train(model, batches);
  const auto on_policy = gradient_of(model, "lm_head.weight");
  batches[0].old_logprob = model.head_output(0).logprob;
  train(model, batches);
  const auto with_old = gradient_of(model, "lm_head.weight");
  for (std::size_t i = 0; i < on_policy.size(); ++i) {
    ASSERT_NEAR(on_policy[i], with_old[i], 1e-5 * (1 + std::abs(with_old[i])));
  }
}

/// Feeds each sequence a prompt of `prompt` tokens, then one token at a time.
void expect_decode_equals_score(const ModelConfig& config, int prompt) {
  Alone alone;
  StageModel model(config, whole(config), *alone.group, alone.context, 64);
  model.initialize(5);
  const int length = 12, rows = 3;
  std::vector<MicroBatch> score = {random_batch(config, {length, length, length}, 1)};
  score[0].mode = Mode::Score;
  // Every token's log-probability of its successor.
  for (std::size_t t = 0; t + 1 < score[0].tokens.size(); ++t) {
    score[0].targets[t] = score[0].tokens[t + 1];
  }
  score[0].targets.back() = 0;
  model.set_micro_batches(score);
  forward(model, 0);
  const std::vector<float> want = model.head_output(0).logprob;
  model.release(0);

  model.open_cache(0, rows, length);
  for (int position = 0; position < length;) {
    const int step = position == 0 ? prompt : 1;
    std::vector<MicroBatch> decode(1);
    MicroBatch& b = decode[0];
    b.mode = Mode::Decode;
    b.sequence_begin = {0};
    for (int r = rows - 1; r >= 0; --r) {
      for (int p = position; p < position + step; ++p) {
        b.tokens.push_back(score[0].tokens[static_cast<std::size_t>(r * length + p)]);
        b.positions.push_back(p);
      }
      b.sequence_begin.push_back(b.num_tokens());
      b.cache_row.push_back(r);
      b.sequence_id.push_back(r);
    }
    model.set_micro_batches(decode);
    forward(model, 0);
    position += step;
    const auto logits = model.logits(0);
    ASSERT_EQ(logits.size(), static_cast<std::size_t>(rows * config.vocab_size));
    for (int i = 0; i < rows; ++i) {
      const int token = (rows - 1 - i) * length + position - 1;
      double sum = 0;
      const auto row = logits.subspan(static_cast<std::size_t>(i * config.vocab_size),
                                      static_cast<std::size_t>(config.vocab_size));
      for (const Real x : row) sum += std::exp(static_cast<double>(x));
      const int target = score[0].targets[static_cast<std::size_t>(token)];
      EXPECT_NEAR(row[static_cast<std::size_t>(target)] - std::log(sum),
                  want[static_cast<std::size_t>(token)], 2e-5);
    }
    model.release(0);
  }
  model.close_caches();
}

TEST(StageModel, DecodingEqualsTheFullForward) {
  expect_decode_equals_score(medium_config(), 1);
  expect_decode_equals_score(medium_config(), 5);
  ModelConfig config = medium_config();
  config.q_lora_rank = 0;
  expect_decode_equals_score(config, 4);
}

TEST(StageModel, DecodingEqualsTheFullForwardWithYarn) {
  ModelConfig config = medium_config();
  config.yarn.factor = 4;
  config.yarn.original_max_position_embeddings = 8;
  config.yarn.mscale_all_dim = 1;
  expect_decode_equals_score(config, 5);
}

TEST(StageModel, DecodingEqualsTheFullForwardOfStudents) {
  for (const char* type : {"llama", "qwen2", "qwen3"}) {
    ModelConfig config = student_config(type);
    expect_decode_equals_score(config, 1);
    config.tie_word_embeddings = true;
    expect_decode_equals_score(config, 5);
  }
}

TEST(StageModel, LoadIsCountedInTrainingAndMovesTheBias) {
  const ModelConfig config = medium_config();
  Alone alone;
  StageModel model(config, whole(config), *alone.group, alone.context, 64);
  model.initialize(5);
  const std::vector<MicroBatch> batches = {random_batch(config, {9, 20}, 1)};
  train(model, batches);
  std::vector<double> load(model.expert_load(1).begin(), model.expert_load(1).end());
  double sum = 0;
  for (const double n : load) sum += n;
  EXPECT_EQ(sum, 29.0 * config.num_experts_per_tok);
  load.assign(load.size(), 7);
  load[2] = 6;
  load[3] = 8;
  model.update_selection_bias(1, load, 0.25);
  const Parameter* bias =
      model.parameters().find("model.layers.1.mlp.gate.e_score_correction_bias");
  ASSERT_NE(bias, nullptr);
  const auto values =
      model.parameters().values().subspan(static_cast<std::size_t>(bias->offset), 8);
  EXPECT_EQ(std::vector<Real>(values.begin(), values.end()),
            (std::vector<Real>{0, 0, Real(0.25), Real(-0.25), 0, 0, 0, 0}));
  model.clear_expert_load();
  EXPECT_EQ(model.expert_load(1)[0], 0.0);
}

/// One rank's part of a run with sharded experts: its own micro-batches, gradients kept.
struct ShardResult {
  std::vector<std::vector<float>> loss;
  std::vector<std::pair<std::string, std::vector<Real>>> gradients;
  std::vector<bool> expert;
};

ShardResult run_shard(const ModelConfig& config, comm::Communicator& group,
                      const std::vector<MicroBatch>& batches) {
  kernels::Context context;
  StageModel model(config, whole(config), group, context, 64);
  model.initialize(5);
  model.set_micro_batches(batches);
  ShardResult result;
  for (int slot = 0; slot < static_cast<int>(batches.size()); ++slot) {
    forward(model, slot);
    backward_input(model, slot);
    backward_weights(model, slot);
    result.loss.push_back(model.head_output(slot).loss);
  }
  for (const Parameter& item : model.parameters().items()) {
    result.gradients.emplace_back(item.name, gradient_of(model, item.name));
    result.expert.push_back(item.expert);
  }
  return result;
}

TEST(StageModel, ShardedExpertsLeaveTheSameLossesAndGradients) {
  const ModelConfig config = medium_config();
  std::vector<std::vector<MicroBatch>> batches;
  std::vector<MicroBatch> all;
  for (std::uint64_t r = 0; r < 4; ++r) {
    batches.push_back({random_batch(config, {9, 13 + static_cast<int>(r)}, 2 * r + 1),
                       random_batch(config, {17}, 2 * r + 2)});
    all.insert(all.end(), batches.back().begin(), batches.back().end());
  }
  Alone alone;
  const ShardResult plain = run_shard(config, *alone.group, all);

  auto world = comm::LocalWorld::create(4);
  ASSERT_TRUE(world) << world.error().message;
  std::vector<ShardResult> shards(4);
  std::vector<std::jthread> threads;
  for (int r = 0; r < 4; ++r) {
    threads.emplace_back([&, r] {
      auto transport = world->join(r).value();
      const std::vector<comm::GroupSpec> specs = {{"experts", {0, 1, 2, 3}}};
      const auto groups = transport->make_groups(specs).value();
      shards[static_cast<std::size_t>(r)] =
          run_shard(config, *groups[0], batches[static_cast<std::size_t>(r)]);
    });
  }
  threads.clear();

  for (std::size_t r = 0; r < 4; ++r) {
    for (std::size_t slot = 0; slot < 2; ++slot) {
      const auto& want = plain.loss[2 * r + slot];
      for (std::size_t t = 0; t < want.size(); ++t) {
        ASSERT_NEAR(shards[r].loss[slot][t], want[t], 1e-5 * (1 + std::abs(want[t])));
      }
    }
  }
  for (std::size_t i = 0; i < plain.gradients.size(); ++i) {
    const auto& [name, want] = plain.gradients[i];
    std::vector<double> sum(want.size());
    for (const ShardResult& shard : shards) {
      for (std::size_t k = 0; k < shard.gradients.size(); ++k) {
        if (shard.gradients[k].first != name) continue;
        for (std::size_t j = 0; j < sum.size(); ++j) sum[j] += shard.gradients[k].second[j];
      }
    }
    for (std::size_t j = 0; j < want.size(); ++j) {
      ASSERT_NEAR(sum[j], want[j], 1e-4 * (1 + std::abs(want[j]))) << name << " element " << j;
    }
  }
}

TEST(StageModel, ThreadsChangeNoBit) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the thread sanitizer does not see the barriers of libgomp";
#endif
  const ModelConfig config = medium_config();
  const std::vector<MicroBatch> batches = {random_batch(config, {9, 20, 30}, 1)};
  Alone one(1), two(2);
  StageModel a(config, whole(config), *one.group, one.context, 64);
  StageModel b(config, whole(config), *two.group, two.context, 64);
  a.initialize(5);
  b.initialize(5);
  train(a, batches);
  train(b, batches);
  EXPECT_EQ(a.head_output(0).loss, b.head_output(0).loss);
}

}  // namespace
}  // namespace weft::trainer

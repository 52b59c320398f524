// Multi-token prediction as a step runs it: the same numbers in every layout, kept and resumed in
// any, and out of the way of everything that does not train it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <mutex>

#include "runtime/worker/engine.h"
#include "tests/runtime/engine_world.h"
#include "trainer/checkpoint/checkpoint.h"

namespace weft::runtime {
namespace {

using dualpipe::Kind;
using trainer::Recompute;
using Gradients = std::map<std::string, std::vector<float>>;

const std::string kEmbedding = "model.embed_tokens.weight";

EngineOptions options_of(const scheduler::Layout& layout, int layers, int depth) {
  EngineOptions options;
  options.layout = layout;
  options.model = tiny_model(layers);
  options.model.vocab_size = 32;
  options.model.hidden_size = 16;
  options.model.intermediate_size = 24;
  options.model.moe_intermediate_size = 8;
  options.model.num_nextn_predict_layers = depth;
  options.max_tokens = 256;
  options.seed = 3;
  options.wait_bound = std::chrono::seconds(30);
  return options;
}

std::vector<trainer::MicroBatch> batch_of(const EngineOptions& options, int step,
                                          float weight = 0.3f) {
  const int parts = options.layout.data * options.layout.micro_batches;
  auto batch = random_batch(11, step, 2 * 8, parts, options.model.vocab_size);
  for (trainer::MicroBatch& part : batch) part.next_token_weight = weight;
  return batch;
}

struct Step {
  Gradients gradients;
  TrainResult result;
};

Step one_step(const EngineOptions& options, float weight = 0.3f) {
  Step step;
  std::mutex mutex;
  on_every_rank(options, [&](Engine& engine) -> Expected<void> {
    engine.watch_gradients([&](const trainer::Parameter& item, std::span<const float> gradient) {
      const std::scoped_lock lock(mutex);
      const bool once =
          step.gradients.emplace(item.name, std::vector(gradient.begin(), gradient.end())).second;
      EXPECT_TRUE(once) << item.name << " has two owners";
    });
    WEFT_TRY_ASSIGN(const TrainResult result,
                    engine.train(batch_of(options, 0, weight), 3e-3, 1, false));
    const std::scoped_lock lock(mutex);
    if (engine.rank() == 0) step.result = result;
    return {};
  });
  return step;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double apart = 0, length = 0;
  for (std::size_t k = 0; k < b.size(); ++k) {
    apart += std::pow(double(a[k]) - b[k], 2);
    length += std::pow(double(b[k]), 2);
  }
  return length == 0 ? std::sqrt(apart) : std::sqrt(apart / length);
}

/// Bit-equal but for the embedding, whose two uses are summed in another order.
void expect_same(const Step& got, const Step& want) {
  EXPECT_EQ(got.result.loss, want.result.loss);
  EXPECT_EQ(got.result.next_token_loss, want.result.next_token_loss);
  ASSERT_EQ(got.gradients.size(), want.gradients.size());
  for (const auto& [name, gradient] : want.gradients) {
    ASSERT_TRUE(got.gradients.contains(name)) << name;
    if (name == kEmbedding)
      EXPECT_LT(distance(got.gradients.at(name), gradient), 1e-6);
    else
      EXPECT_TRUE(got.gradients.at(name) == gradient) << name << " differs";
  }
}

void expect_near(const Step& got, const Step& want, double tolerance) {
  EXPECT_NEAR(got.result.loss, want.result.loss, tolerance * want.result.loss);
  ASSERT_EQ(got.result.next_token_loss.size(), want.result.next_token_loss.size());
  for (std::size_t k = 0; k < want.result.next_token_loss.size(); ++k)
    EXPECT_NEAR(got.result.next_token_loss[k], want.result.next_token_loss[k],
                tolerance * want.result.next_token_loss[k]);
  ASSERT_EQ(got.gradients.size(), want.gradients.size());
  for (const auto& [name, gradient] : want.gradients)
    EXPECT_LT(distance(got.gradients.at(name), gradient), tolerance) << name;
}

TEST(EngineNextToken, EveryOneDirectionalKindHasTheGradientsOfOnePosition) {
  const Step want = one_step(options_of({Kind::OneFOneB, 1, 1, 1, 8}, 4, 2));
  EXPECT_EQ(want.result.next_token_loss.size(), 2u);
  for (const Kind kind : {Kind::GPipe, Kind::OneFOneB, Kind::Interleaved, Kind::ZeroBubble,
                          Kind::ZBV, Kind::DualPipeV}) {
    SCOPED_TRACE(dualpipe::to_string(kind));
    expect_same(one_step(options_of({kind, 2, 1, 1, 8}, 4, 2)), want);
  }
  expect_same(one_step(options_of({Kind::DualPipeV, 1, 1, 1, 8}, 4, 2)), want);
  expect_same(one_step(options_of({Kind::OneFOneB, 4, 1, 1, 8}, 4, 2)), want);
}

TEST(EngineNextToken, FourPositionsOfTheVKindsToo) {
  const Step want = one_step(options_of({Kind::OneFOneB, 1, 1, 1, 8}, 8, 1));
  for (const Kind kind : {Kind::DualPipeV, Kind::ZBV})
    expect_same(one_step(options_of({kind, 4, 1, 1, 8}, 8, 1)), want);
}

TEST(EngineNextToken, DualPipeAndExpertShardsStayWithinAMillionth) {
  const Step want = one_step(options_of({Kind::OneFOneB, 1, 1, 1, 8}, 4, 1));
  for (const scheduler::Layout& layout : {scheduler::Layout{Kind::DualPipe, 2, 1, 1, 8},
                                          {Kind::DualPipe, 4, 1, 1, 8},
                                          {Kind::OneFOneB, 2, 2, 2, 4},
                                          {Kind::DualPipe, 2, 2, 2, 4},
                                          {Kind::DualPipeV, 2, 2, 2, 4},
                                          {Kind::OneFOneB, 1, 2, 1, 4}}) {
    SCOPED_TRACE(std::string(dualpipe::to_string(layout.kind)) +
                 " E=" + std::to_string(layout.expert));
    expect_near(one_step(options_of(layout, 4, 1)), want, 2e-6);
  }
}

TEST(EngineNextToken, NeitherRecomputationNorTheOverlapChangesABit) {
  for (const scheduler::Layout& layout :
       {scheduler::Layout{Kind::ZeroBubble, 2, 1, 1, 8}, {Kind::DualPipe, 2, 2, 2, 4}}) {
    EngineOptions options = options_of(layout, 4, 1);
    const Step want = one_step(options);
    options.overlap = false;
    for (const Recompute recompute : {Recompute::None, Recompute::MlaUp, Recompute::Full}) {
      options.recompute = recompute;
      const Step got = one_step(options);
      EXPECT_EQ(got.gradients == want.gradients, true) << trainer::to_string(recompute);
      EXPECT_EQ(got.result.next_token_loss, want.result.next_token_loss);
      options.overlap = true;
    }
  }
}

TEST(EngineNextToken, WithoutWeightTheModelLearnsAsIfThereWereNoModules) {
  const Step with = one_step(options_of({Kind::DualPipeV, 1, 1, 1, 8}, 4, 1), 0.0f);
  const Step without = one_step(options_of({Kind::DualPipeV, 1, 1, 1, 8}, 4, 0));
  EXPECT_EQ(with.result.loss, without.result.loss);
  EXPECT_EQ(with.result.grad_norm, without.result.grad_norm);
  EXPECT_TRUE(with.result.next_token_loss.empty());
  for (const auto& [name, gradient] : without.gradients)
    EXPECT_TRUE(with.gradients.at(name) == gradient) << name;
}

TEST(EngineNextToken, APairIsMergedPhaseByPhaseInTheLastStageToo) {
  const EngineOptions options = options_of({Kind::OneFOneB, 1, 1, 1, 1}, 2, 1);
  on_every_rank(options, [&](Engine& engine) -> Expected<void> {
    trainer::kernels::Context context;
    trainer::StageModel model(options.model, {0, 2, true, true, 1}, engine.world(), context, 64);
    const StageAdapter adapter(model);
    const auto forward = adapter.phases(dualpipe::Pass::Forward);
    const auto merged = dualpipe::merge_phases(forward, adapter.phases(dualpipe::Pass::Backward));
    // Unmerged, the forward would stand before the backward.
    EXPECT_TRUE(std::ranges::any_of(std::span(merged).first(forward.size()),
                                    [](const auto& step) { return step.backward; }));
    return {};
  });
}

/// Steps [begin, end) of a run, loaded from and saved to `directory` where it says.
std::vector<double> run(const EngineOptions& options, int begin, int end,
                        const std::filesystem::path& directory, bool save) {
  std::vector<double> losses;
  std::mutex mutex;
  on_every_rank(options, [&](Engine& engine) -> Expected<void> {
    if (begin > 0) WEFT_TRY(engine.load_newest(directory));
    std::vector<double> mine;
    for (int step = begin; step < end; ++step) {
      WEFT_TRY_ASSIGN(const TrainResult result,
                      engine.train(batch_of(options, step), 3e-3, step + 1, false));
      mine.push_back(result.loss);
      mine.insert(mine.end(), result.next_token_loss.begin(), result.next_token_loss.end());
    }
    if (save) {
      WEFT_TRY(engine.save(save_info(directory, end)));
    }
    const std::scoped_lock lock(mutex);
    losses = mine;
    return {};
  });
  return losses;
}

TEST(EngineNextToken, ARunGoesOnInAnyOtherLayout) {
  const auto directory =
      std::filesystem::temp_directory_path() / ("weft-next-token-" + std::to_string(::getpid()));
  std::filesystem::remove_all(directory);
  const scheduler::Layout writers[] = {{Kind::OneFOneB, 2, 2, 2, 4}, {Kind::DualPipe, 2, 1, 1, 8}};
  const scheduler::Layout readers[] = {{Kind::OneFOneB, 1, 1, 1, 8}, {Kind::DualPipeV, 1, 2, 2, 4}};
  const auto whole = run(options_of(readers[0], 4, 1), 0, 4, directory, false);
  for (const scheduler::Layout& writer : writers) {
    run(options_of(writer, 4, 1), 0, 2, directory, true);
    for (const scheduler::Layout& reader : readers) {
      SCOPED_TRACE(dualpipe::to_string(reader.kind));
      const auto rest = run(options_of(reader, 4, 1), 2, 4, directory, false);
      ASSERT_EQ(rest.size(), 4u);
      for (std::size_t i = 0; i < rest.size(); ++i)
        EXPECT_NEAR(rest[i], whole[4 + i], 1e-5 * whole[4 + i]);
    }
    std::filesystem::remove_all(directory);
  }
}

// Reinforcement learning keeps them: not even weight decay touches what did not run.
TEST(EngineNextToken, ModulesThatDoNotRunAreLeftAsTheyAre) {
  const EngineOptions options = options_of({Kind::OneFOneB, 2, 1, 1, 8}, 4, 1);
  const auto directory =
      std::filesystem::temp_directory_path() / ("weft-next-token-" + std::to_string(::getpid()));
  std::map<std::string, std::vector<float>> seen[3];
  for (const float weight : {0.0f, 0.3f}) {
    on_every_rank(options, [&](Engine& engine) -> Expected<void> {
      WEFT_TRY(engine.train(batch_of(options, 0, weight), 3e-3, 1, false));
      WEFT_TRY(engine.save(save_info(directory, 1)));
      return {};
    });
    const auto path = directory / "step-000000001";
    auto reader = trainer::checkpoint::Reader::open(path);
    ASSERT_TRUE(reader) << reader.error().message;
    for (const char* name :
         {"model.layers.4.eh_proj.weight", "model.layers.3.self_attn.o_proj.weight"}) {
      auto& values = seen[weight > 0][name];
      values.resize(16 * 32);  // both are [16, 32]
      ASSERT_TRUE(reader->read("model", name, values));
    }
    std::filesystem::remove_all(directory);
  }
  trainer::kernels::Context context;
  const std::string module = "model.layers.4.eh_proj.weight",
                    layer = "model.layers.3.self_attn.o_proj.weight";
  on_every_rank(options_of({Kind::OneFOneB, 1, 1, 1, 8}, 4, 1),
                [&](Engine& engine) -> Expected<void> {
                  trainer::StageModel fresh(options.model, {0, 4, true, true, 1}, engine.world(),
                                            context, 64);
                  fresh.initialize(options.seed);
                  for (const std::string& name : {module, layer}) {
                    const trainer::Parameter* item = fresh.parameters().find(name);
                    const float* at = fresh.parameters().values_data() + item->offset;
                    seen[2][name].assign(at, at + item->size);
                  }
                  return {};
                });
  EXPECT_EQ(seen[0][module], seen[2][module]);
  EXPECT_NE(seen[1][module], seen[2][module]);
  EXPECT_NE(seen[0][layer], seen[2][layer]);
}

TEST(EngineNextToken, SamplingAndScoringDoNotSeeTheModules) {
  std::vector<std::vector<std::int32_t>> drawn[2];
  double loss[2] = {};
  for (const int depth : {0, 1}) {
    const EngineOptions options = options_of({Kind::DualPipe, 2, 1, 1, 8}, 4, depth);
    on_every_rank(options, [&](Engine& engine) -> Expected<void> {
      GenerateOptions generate;
      generate.max_new_tokens = 6;
      const std::vector<std::vector<std::int32_t>> prompts(4, {1, 2, 3});
      WEFT_TRY_ASSIGN(const auto completions, engine.generate(prompts, generate));
      auto batch = batch_of(options, 0);
      for (trainer::MicroBatch& part : batch) part.mode = trainer::Mode::Score;
      WEFT_TRY_ASSIGN(const auto scores, engine.score(batch));
      if (engine.rank() != 0) return {};
      for (const Completion& completion : completions) drawn[depth].push_back(completion.tokens);
      loss[depth] = scores.loss;
      return {};
    });
  }
  EXPECT_EQ(drawn[0], drawn[1]);
  EXPECT_EQ(loss[0], loss[1]);
}

}  // namespace
}  // namespace weft::runtime

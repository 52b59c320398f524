// The moving average of the parameters: the same in every layout, kept in checkpoints, and away
// from the training path.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "tests/runtime/engine_world.h"
#include "trainer/checkpoint/checkpoint.h"

namespace weft::runtime {
namespace {

namespace fs = std::filesystem;

constexpr double kDecay = 0.7;

EngineOptions options(scheduler::Layout layout, double decay) {
  EngineOptions options;
  options.layout = layout;
  options.model = tiny_model(2);
  options.ema_decay = decay;
  options.max_tokens = 256;
  options.wait_bound = std::chrono::seconds(20);
  return options;
}

Expected<void> train(Engine& engine, int first, int last) {
  for (int step = first; step < last; ++step) {
    const auto batch = random_batch(11, step, 8, engine.num_micro_batches(), 64);
    WEFT_TRY(engine.train(batch, 3e-3, step + 1, false));
  }
  return {};
}

Expected<double> score(Engine& engine) {
  auto batch = random_batch(12, 0, 8, engine.num_micro_batches(), 64);
  for (trainer::MicroBatch& part : batch) part.mode = trainer::Mode::Score;
  WEFT_TRY_ASSIGN(const Engine::Scores scores, engine.score(batch));
  return scores.loss;
}

struct Losses {
  double plain = 0, average = 0, again = 0;
};

/// After five steps: the loss, that of the average, and the loss once it is swapped back.
Expected<Losses> losses(Engine& engine) {
  Losses all;
  WEFT_TRY_ASSIGN(all.plain, score(engine));
  WEFT_TRY(engine.swap_average());
  WEFT_TRY_ASSIGN(all.average, score(engine));
  WEFT_TRY(engine.swap_average());
  WEFT_TRY_ASSIGN(all.again, score(engine));
  return all;
}

Losses losses_in(scheduler::Layout layout) {
  Losses found;
  on_every_rank(options(layout, kDecay), [&](Engine& engine) -> Expected<void> {
    WEFT_TRY(train(engine, 0, 5));
    WEFT_TRY_ASSIGN(const Losses mine, losses(engine));
    if (engine.rank() == 0) found = mine;
    return {};
  });
  return found;
}

const scheduler::Layout kOneRank{dualpipe::Kind::OneFOneB, 1, 1, 1, 4};

/// Every tensor of a checkpoint's part, by name.
std::map<std::string, std::vector<float>> tensors_of(const fs::path& checkpoint,
                                                     const std::string& part) {
  std::map<std::string, std::vector<float>> tensors;
  auto reader = trainer::checkpoint::Reader::open(checkpoint);
  EXPECT_TRUE(reader) << reader.error().message;
  for (const std::string& name : reader->names(part)) {
    std::size_t size = 1;
    const auto shape = reader->shape(part, name);
    for (const std::int64_t n : *shape) size *= static_cast<std::size_t>(n);
    tensors[name].resize(size);
    EXPECT_TRUE(reader->read(part, name, tensors[name]));
  }
  return tensors;
}

TEST(EngineAverage, IsTheAverageOfTheStepsParameters) {
  const Scratch scratch("average");
  on_every_rank(options(kOneRank, kDecay), [&](Engine& engine) -> Expected<void> {
    for (int step = 0; step < 4; ++step) {
      if (step > 0) WEFT_TRY(train(engine, step - 1, step));
      WEFT_TRY(engine.save(save_info(scratch.path / std::to_string(step), 3)));
    }
    return {};
  });
  std::map<std::string, std::vector<float>> average;
  for (int step = 0; step < 4; ++step) {
    const fs::path checkpoint = scratch.path / std::to_string(step) / "step-000000003";
    const auto values = tensors_of(checkpoint, "model");
    const auto kept = tensors_of(checkpoint, "ema");
    EXPECT_FALSE(kept.empty());
    for (const auto& [name, found] : kept) {
      std::vector<float>& own = average[name];
      if (step == 0) own = values.at(name);
      for (std::size_t k = 0; k < own.size(); ++k)
        own[k] += static_cast<float>(1 - kDecay) * (values.at(name)[k] - own[k]);
      ASSERT_EQ(found, own) << name << " at step " << step;
    }
  }
  EXPECT_FALSE(average.contains("model.layers.1.mlp.gate.e_score_correction_bias"));
}

TEST(EngineAverage, IsTheSameWhereverTheTensorsLie) {
  const Losses alone = losses_in(kOneRank);
  EXPECT_NE(alone.average, alone.plain);
  EXPECT_EQ(alone.again, alone.plain);
  for (const scheduler::Layout& layout :
       {scheduler::Layout{dualpipe::Kind::OneFOneB, 2, 1, 1, 4},
        scheduler::Layout{dualpipe::Kind::DualPipe, 2, 2, 1, 4}}) {
    const Losses found = losses_in(layout);
    EXPECT_EQ(found.again, found.plain);
    EXPECT_NEAR(found.average, alone.average, 1e-5 * alone.average);
  }
}

TEST(EngineAverage, ChangesNothingInTheTraining) {
  double with = 0, without = 1;
  for (const double decay : {kDecay, 0.0})
    on_every_rank(options(kOneRank, decay), [&](Engine& engine) -> Expected<void> {
      WEFT_TRY(train(engine, 0, 5));
      WEFT_TRY_ASSIGN((decay > 0 ? with : without), score(engine));
      return {};
    });
  EXPECT_EQ(with, without);
}

TEST(EngineAverage, ResumesFromACheckpointInAnotherLayout) {
  const Scratch scratch("average");
  on_every_rank(options({dualpipe::Kind::DualPipe, 2, 1, 1, 4}, kDecay),
                [&](Engine& engine) -> Expected<void> {
                  WEFT_TRY(train(engine, 0, 3));
                  WEFT_TRY(engine.save(save_info(scratch.path, 3)));
                  return {};
                });
  Losses resumed;
  on_every_rank(options(kOneRank, kDecay), [&](Engine& engine) -> Expected<void> {
    WEFT_TRY(engine.load_newest(scratch.path));
    WEFT_TRY(train(engine, 3, 5));
    WEFT_TRY_ASSIGN(resumed, losses(engine));
    return {};
  });
  const Losses through = losses_in(kOneRank);
  EXPECT_NEAR(resumed.average, through.average, 1e-5 * through.average);
  // A checkpoint without one: the average begins at its values.
  on_every_rank(options(kOneRank, 0), [&](Engine& engine) -> Expected<void> {
    WEFT_TRY(engine.load_newest(scratch.path));
    EXPECT_FALSE(engine.has_average());
    return {};
  });
}

}  // namespace
}  // namespace weft::runtime

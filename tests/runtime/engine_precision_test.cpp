// Whole worlds that compute in BF16: rollouts, and optimizer states that either dtype can read.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "tests/runtime/engine_world.h"

namespace weft::runtime {
namespace {

namespace fs = std::filesystem;

EngineOptions options_with(trainer::Precision precision, bool bf16_moments) {
  EngineOptions options;
  options.layout = {dualpipe::Kind::DualPipe, 2, 1, 1, 4};
  options.model = tiny_model(2);
  options.max_tokens = 256;
  options.precision = precision;
  options.adam.bf16_moments = bf16_moments;
  options.wait_bound = std::chrono::seconds(20);
  return options;
}

Expected<TrainResult> step(Engine& engine, int index) {
  const auto batch = random_batch(11, index, 8, engine.num_micro_batches(), 64);
  return engine.train(batch, 3e-3, index + 1, false);
}

/// Two steps, a checkpoint, and the loss of the fourth step after two more.
void write(const fs::path& directory, bool bf16_moments, double& loss) {
  on_every_rank(options_with(trainer::Precision::BF16, bf16_moments),
                [&](Engine& engine) -> Expected<void> {
                  for (int i = 0; i < 2; ++i) WEFT_TRY(step(engine, i));
                  WEFT_TRY(engine.save(save_info(directory, 2)));
                  WEFT_TRY(step(engine, 2));
                  WEFT_TRY_ASSIGN(const TrainResult result, step(engine, 3));
                  if (engine.rank() == 0) loss = result.loss;
                  return {};
                });
}

double resumed(const fs::path& directory, bool bf16_moments) {
  double loss = 0;
  on_every_rank(options_with(trainer::Precision::BF16, bf16_moments),
                [&](Engine& engine) -> Expected<void> {
                  WEFT_TRY(engine.load_newest(directory));
                  WEFT_TRY(step(engine, 2));
                  WEFT_TRY_ASSIGN(const TrainResult result, step(engine, 3));
                  if (engine.rank() == 0) loss = result.loss;
                  return {};
                });
  return loss;
}

std::uintmax_t optimizer_bytes(const fs::path& directory) {
  std::uintmax_t sum = 0;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (entry.path().extension() == ".safetensors" &&
        entry.path().parent_path().filename() == "optim")
      sum += entry.file_size();
  return sum;
}

TEST(EnginePrecision, MomentsAreKeptInTheirOwnDtypeAndReadByEither) {
  const Scratch scratch("precision");
  double f32 = 0, bf16 = 0;
  write(scratch.path / "f32", false, f32);
  write(scratch.path / "bf16", true, bf16);
  EXPECT_EQ(resumed(scratch.path / "f32", false), f32);
  EXPECT_EQ(resumed(scratch.path / "bf16", true), bf16) << "resumed bit by bit";
  EXPECT_NE(bf16, f32);
  EXPECT_NEAR(resumed(scratch.path / "f32", true), f32, 1e-3 * f32);
  EXPECT_NEAR(resumed(scratch.path / "bf16", false), bf16, 1e-3 * bf16);
  EXPECT_LT(optimizer_bytes(scratch.path / "bf16"),
            0.65 * static_cast<double>(optimizer_bytes(scratch.path / "f32")));
}

}  // namespace
}  // namespace weft::runtime

// The Snapshot action of a step: what it puts aside is the checkpoint.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "base/files.h"
#include "tests/runtime/engine_world.h"

namespace weft::runtime {
namespace {

namespace fs = std::filesystem;

constexpr int kSequences = 8;

EngineOptions options() {
  EngineOptions options;
  options.layout = {dualpipe::Kind::DualPipe, 2, 1, 1, 4};
  options.model = tiny_model(2);
  options.max_tokens = 256;
  options.wait_bound = std::chrono::seconds(20);
  return options;
}

Expected<void> train_once(Engine& engine, int step) {
  const auto batch =
      random_batch(11, step, kSequences, engine.num_micro_batches(), options().model.vocab_size);
  WEFT_TRY(engine.train(batch, 3e-3, step + 1, false));
  return {};
}

/// The tensors' files of the only checkpoint there.
std::map<std::string, std::string> shards(const fs::path& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory / "step-000000001"))
    if (entry.path().extension() == ".safetensors")
      files[fs::relative(entry.path(), directory)] = *read_file(entry.path());
  return files;
}

TEST(EngineSnapshot, IsSavedBitForBitAsTheStateThatItWasTakenOf) {
  const Scratch scratch("snapshot");
  on_every_rank(options(), [&](Engine& engine) -> Expected<void> {
    WEFT_TRY(train_once(engine, 0));
    WEFT_TRY(engine.save(save_info(scratch.path / "live", 1)));
    return {};
  });
  on_every_rank(options(), [&](Engine& engine) -> Expected<void> {
    engine.want_snapshot();
    WEFT_TRY(train_once(engine, 0));
    WEFT_TRY(engine.save(save_info(scratch.path / "snapshot", 1)));
    return {};
  });
  const auto live = shards(scratch.path / "live");
  EXPECT_FALSE(live.empty());
  EXPECT_EQ(shards(scratch.path / "snapshot"), live);
}

TEST(EngineSnapshot, OfAnEarlierStepIsNeverSaved) {
  const Scratch scratch("snapshot");
  const auto two_steps = [&](const char* name, bool wanted) {
    on_every_rank(options(), [&, wanted](Engine& engine) -> Expected<void> {
      if (wanted) engine.want_snapshot();
      WEFT_TRY(train_once(engine, 0));
      WEFT_TRY(train_once(engine, 1));
      WEFT_TRY(engine.save(save_info(scratch.path / name, 1)));
      return {};
    });
  };
  two_steps("live", false);
  two_steps("snapshot", true);
  EXPECT_EQ(shards(scratch.path / "snapshot"), shards(scratch.path / "live"));
}

}  // namespace
}  // namespace weft::runtime

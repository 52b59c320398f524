#include <fstream>

#include "base/files.h"
#include "tests/trainer/checkpoint_testing.h"

namespace weft::trainer::checkpoint {
namespace {

using testing_::Scratch;
using testing_::SmallRun;

TEST(Checkpoint, WhatTwoRanksWroteComesBackWhole) {
  const Scratch scratch;
  const SmallRun run(40);
  const auto committed = run.save(scratch / "ckpt");
  ASSERT_TRUE(committed) << committed.error().message;
  EXPECT_TRUE(committed->warnings.empty());
  EXPECT_EQ(committed->directory.filename(), "step-000000040");
  EXPECT_EQ(fs::read_symlink(scratch / "ckpt" / "latest"), "step-000000040");
  run.expect_in(committed->directory);
  run.expect_in(scratch / "ckpt" / "latest");
  const auto manifest = load_manifest(committed->directory);
  ASSERT_TRUE(manifest) << manifest.error().message;
  EXPECT_EQ(*manifest, committed->manifest);
  EXPECT_TRUE(verify(committed->directory, Mode::Full)->strays.empty());
}

TEST(Checkpoint, FilesAreNamedAsPyTorchNamesThemAndListedForXxhsum) {
  const Scratch scratch;
  const auto committed = SmallRun(1).save(scratch / "ckpt");
  ASSERT_TRUE(committed) << committed.error().message;
  EXPECT_TRUE(
      fs::exists(committed->directory / "model/shard-00001-model-00001-of-00001.safetensors"));
  EXPECT_TRUE(
      fs::exists(committed->directory / "optim/shard-00002-model-00001-of-00001.safetensors"));
  const std::string list = *read_file(committed->directory / "CHECKSUMS.xxh128");
  for (const fs::path& file : testing_::files_below(committed->directory)) {
    if (file.filename() == kChecksumsFile) continue;
    const std::string line = to_hex(hash_of(*read_file(file))) + "  " +
                             fs::relative(file, committed->directory).string() + "\n";
    EXPECT_NE(list.find(line), std::string::npos) << line;
  }
}

TEST(Checkpoint, TheirOwnToolAcceptsTheChecksums) {
  if (std::system("command -v xxhsum >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "xxhsum is not installed (package xxhash)";
  const Scratch scratch;
  const auto committed = SmallRun(1).save(scratch / "ckpt");
  ASSERT_TRUE(committed) << committed.error().message;
  const std::string command =
      "cd '" + committed->directory.string() + "' && xxhsum -c CHECKSUMS.xxh128 >/dev/null";
  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace weft::trainer::checkpoint

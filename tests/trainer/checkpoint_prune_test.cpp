// What stays of a run's checkpoints: the newest, those of the rules, and what is pinned.
#include "tests/trainer/checkpoint_faulty_disk.h"
#include "trainer/checkpoint/prune.h"

namespace weft::trainer::checkpoint {
namespace {

using testing_::Scratch;
using testing_::SmallRun;

void save(const fs::path& ckpt_dir, std::uint64_t step, const std::string& wall_time = "") {
  const SmallRun run(step);
  const auto partial = prepare(ckpt_dir, step, 1);
  ASSERT_TRUE(partial);
  std::vector<ShardReport> reports;
  for (const int rank : {0, 1})
    reports.push_back(*write_shard(*partial, rank, 2, run.of_rank(rank)));
  ManifestInfo info = run.info();
  info.keep = 100;
  if (!wall_time.empty()) info.wall_time = wall_time;
  ASSERT_TRUE(commit(ckpt_dir, *partial, info, reports));
}

std::vector<std::uint64_t> steps_left(const fs::path& ckpt_dir) {
  const auto entries = list(ckpt_dir);
  std::vector<std::uint64_t> steps;
  for (const Entry& entry : *entries) steps.push_back(entry.step);
  return steps;
}

using Steps = std::vector<std::uint64_t>;

TEST(PruneRules, EveryNthStepStaysBesideTheNewest) {
  const Scratch scratch;
  for (const std::uint64_t step : {10, 20, 30, 40, 50, 60, 70}) save(scratch.path(), step);
  ASSERT_TRUE(prune(scratch.path(), {.keep = 2, .attempt = 1, .keep_every_steps = 20}));
  EXPECT_EQ(steps_left(scratch.path()), (Steps{20, 40, 60, 70}));
}

TEST(PruneRules, TheFirstOfEverySpanOfTimeStaysAndGoesOnStaying) {
  const Scratch scratch;
  const PruneRule rule{.keep = 1, .attempt = 1, .keep_every_seconds = 3600};
  std::uint64_t step = 0;
  for (const char* time :
       {"T01:05:00Z", "T01:40:00Z", "T02:01:00Z", "T02:59:00Z", "T04:30:00Z", "T04:40:00Z"}) {
    save(scratch.path(), step += 10, std::string("2026-01-31") + time);
    ASSERT_TRUE(prune(scratch.path(), rule));
  }
  EXPECT_EQ(steps_left(scratch.path()), (Steps{10, 30, 50, 60}));
}

TEST(PruneRules, EachManifestIsReadOnce) {
  const Scratch scratch;
  for (const std::uint64_t step : {10, 20, 30, 40}) save(scratch.path(), step);
  testing_::FaultyDisk disk(1'000'000, false, 0);
  ASSERT_TRUE(plan_prune(scratch.path(), {.keep = 2, .attempt = 1, .keep_every_steps = 10}, disk));
  const auto opened = disk.opened();
  int manifests = 0;
  for (const auto& [path, times] : opened) {
    EXPECT_EQ(times, 1) << path;
    manifests += path.filename() == kManifestFile;
  }
  EXPECT_EQ(manifests, 4);
}

TEST(PruneRules, WhatIsPinnedStaysUntilItIsNot) {
  const Scratch scratch;
  for (const std::uint64_t step : {10, 20, 30}) save(scratch.path(), step);
  ASSERT_TRUE(pin(scratch.path(), directory_name(10)));
  ASSERT_TRUE(pin(scratch.path(), directory_name(10))) << "twice is fine";
  const PruneRule rule{.keep = 1, .attempt = 1};
  ASSERT_TRUE(prune(scratch.path(), rule));
  EXPECT_EQ(steps_left(scratch.path()), (Steps{10, 30}));
  ASSERT_TRUE(unpin(scratch.path(), directory_name(10)));
  ASSERT_TRUE(unpin(scratch.path(), directory_name(10)));
  ASSERT_TRUE(prune(scratch.path(), rule));
  EXPECT_EQ(steps_left(scratch.path()), (Steps{30}));
}

TEST(PruneRules, OnlyCompleteCheckpointsCanBePinned) {
  const Scratch scratch;
  EXPECT_EQ(pin(scratch.path(), directory_name(10)).error().code, Code::NotFound);
  ASSERT_TRUE(prepare(scratch.path(), 10, 1));
  EXPECT_EQ(pin(scratch.path(), partial_name(10, 1)).error().code, Code::NotFound);
  EXPECT_FALSE(pin(scratch.path(), "../x"));
}

TEST(PruneRules, APlanChangesNothingAndSaysWhy) {
  const Scratch scratch;
  for (const std::uint64_t step : {10, 20, 30}) save(scratch.path(), step);
  ASSERT_TRUE(pin(scratch.path(), directory_name(20)));
  const auto plan = plan_prune(scratch.path(), {.keep = 1, .attempt = 1});
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->size(), 3u);
  EXPECT_EQ((*plan)[0].reason, "one of the newest 1");
  EXPECT_EQ((*plan)[1].reason, "pinned");
  EXPECT_TRUE((*plan)[2].remove);
  EXPECT_EQ(steps_left(scratch.path()), (Steps{10, 20, 30}));
}

}  // namespace
}  // namespace weft::trainer::checkpoint

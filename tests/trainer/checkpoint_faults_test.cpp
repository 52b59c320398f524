// Fail the N-th file operation, for N = 1, 2, ... until the save succeeds: once (a full disk that
// recovers) and for ever (power loss, where what was not synced may be lost as well).
#include <chrono>

#include "tests/trainer/checkpoint_faulty_disk.h"
#include "trainer/checkpoint/saver.h"

namespace weft::trainer::checkpoint {
namespace {

using testing_::FaultyDisk;
using testing_::Scratch;
using testing_::SmallRun;

/// Both ranks' part of `run` through writers of their own, as training does it. Rank 0's outcome,
/// or what ended the other one.
Expected<Saved> save_meanwhile(const SmallRun& run, const fs::path& ckpt_dir, Disk& disk,
                               std::uint64_t attempt, int keep) {
  const SystemClock clock;
  Saver first({0, 2, "test", std::chrono::minutes(1)}, clock, disk);
  Saver second({1, 2, "test", std::chrono::minutes(1)}, clock, disk);
  for (Saver* const saver : {&first, &second}) {
    ManifestInfo info = run.info(attempt);
    info.keep = keep;
    saver->begin(testing_::snapshot_of(run, saver == &first ? 0 : 1, saver->borrow()), ckpt_dir,
                 std::move(info));
  }
  for (;;) {  // a rank that cannot even leave its report ends the run, and rank 0 with it
    const bool idle = first.wait_idle(std::chrono::milliseconds(1));
    if (auto other = second.take_finished(); !other) return tl::unexpected(other.error());
    if (!idle) continue;
    WEFT_TRY_ASSIGN(const std::vector<Saved> saved, first.take_finished());
    return saved.at(0);
  }
}

enum class Way { OneAfterTheOther, Meanwhile };

/// A run that saves every 10 steps; after each good save one on a failing disk, at a later
/// operation each time. `again`: a damaged checkpoint of that step is there already, which the save
/// replaces.
void expect_old_ones_survive(bool for_ever, bool again, Way way = Way::OneAfterTheOther) {
  const Scratch scratch;
  const fs::path& ckpt = scratch.path();
  FaultyDisk healthy(1'000'000, false, 0);
  std::uint64_t step = 10;
  ASSERT_TRUE(SmallRun(step).save(ckpt, healthy));
  int fail_at = 1;
  for (bool succeeded = false; !succeeded; ++fail_at) {
    ASSERT_LT(fail_at, 1000);
    SCOPED_TRACE(testing::Message()
                 << "operation " << fail_at << " fails" << (for_ever ? " for ever" : " once"));
    const std::uint64_t attempt = 4 * static_cast<std::uint64_t>(fail_at);
    const SmallRun before(step), next(step + 10);
    if (again) {
      ASSERT_TRUE(next.save(ckpt, healthy, attempt, 3));
      fs::resize_file(ckpt / directory_name(next.step) / shard_file("model", 0), 100);
    }
    FaultyDisk disk(fail_at, for_ever, fail_at % 2 ? ENOSPC : EIO);
    const auto failure = [&]() -> std::optional<Error> {
      if (way == Way::Meanwhile) {
        const auto saved = save_meanwhile(next, ckpt, disk, attempt, 2);
        return saved ? std::nullopt : std::optional(saved.error());
      }
      const auto saved = next.save(ckpt, disk, attempt, 2);
      return saved ? std::nullopt : std::optional(saved.error());
    }();
    const bool saved = !failure;
    succeeded = !disk.failed();
    if (for_ever && disk.failed()) disk.lose_power();

    const auto choice = newest_complete(ckpt, Mode::Full);
    ASSERT_TRUE(choice && choice->chosen) << "nothing to resume from";
    ASSERT_GE(choice->chosen->step, before.step);
    if (saved) {
      EXPECT_EQ(choice->chosen->step, next.step) << "a promised checkpoint is gone";
    } else {
      EXPECT_NE(failure->message.find(ckpt.string()), std::string::npos)
          << "names no path: " << failure->message;
    }
    (choice->chosen->step == next.step ? next : before).expect_in(choice->chosen->directory);
    // `latest` never points to less than a whole checkpoint.
    const auto latest = verify(ckpt / kLatestLink, Mode::Full);
    EXPECT_TRUE(again || (latest && latest->ok()));

    // The next attempt works and leaves no litter.
    step += 20;
    const auto retry = SmallRun(step).save(ckpt, healthy, attempt + 2, 2);
    ASSERT_TRUE(retry) << retry.error().message;
    EXPECT_TRUE(retry->warnings.empty());
    const auto entries = list(ckpt);
    for (const Entry& entry : *entries) EXPECT_EQ(entry.state, EntryState::Complete) << entry.name;
    EXPECT_EQ(entries->back().step, step);
  }
  EXPECT_GT(fail_at, 40);
}

TEST(CheckpointFaults, AFailureAtAnyFileOperationKeepsOlderCheckpoints) {
  expect_old_ones_survive(false, false);
}

TEST(CheckpointFaults, PowerLossAtAnyFileOperationKeepsOlderCheckpoints) {
  expect_old_ones_survive(true, false);
}

TEST(CheckpointFaults, PowerLossWhileAStepIsReplacedKeepsOlderCheckpoints) {
  expect_old_ones_survive(true, true);
}

TEST(CheckpointFaults, AFailureWhileTheStepsGoOnKeepsOlderCheckpoints) {
  expect_old_ones_survive(false, false, Way::Meanwhile);
}

TEST(CheckpointFaults, PowerLossWhileTheStepsGoOnKeepsOlderCheckpoints) {
  expect_old_ones_survive(true, false, Way::Meanwhile);
}

TEST(CheckpointFaults, AFullDiskIsNamedWithWhatToDo) {
  const Scratch scratch;
  FaultyDisk disk(8, true, ENOSPC);
  const auto saved = SmallRun(1).save(scratch / "ckpt", disk);
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code, Code::Io);
  EXPECT_NE(saved.error().message.find("No space left"), std::string::npos);
  EXPECT_NE(saved.error().message.find("free some space"), std::string::npos);
}

TEST(CheckpointFaults, AnUnreadableCheckpointIsSkippedNotFatal) {
  const Scratch scratch;
  ASSERT_TRUE(SmallRun(10).save(scratch.path()));
  ASSERT_TRUE(SmallRun(20).save(scratch.path()));
  int skips = 0;
  for (int fail_at = 2;; ++fail_at) {  // the first lists the directory itself
    FaultyDisk disk(fail_at, false, EIO);
    const auto choice = newest_complete(scratch.path(), Mode::Full, disk);
    ASSERT_TRUE(choice) << choice.error().message;
    if (!disk.failed()) break;
    ASSERT_TRUE(choice->chosen);
    if (choice->chosen->step == 20) continue;  // the failure met the older one
    ++skips;
    ASSERT_EQ(choice->skipped.size(), 1u);
    EXPECT_NE(choice->skipped[0].reason.find("Input/output error"), std::string::npos)
        << choice->skipped[0].reason;
  }
  EXPECT_GT(skips, 10);
}

}  // namespace
}  // namespace weft::trainer::checkpoint

// Saving while the steps go on: one writer a rank, two buffers, a commit without waiting.
#include <atomic>
#include <future>

#include "tests/trainer/checkpoint_faulty_disk.h"
#include "trainer/checkpoint/report_file.h"
#include "trainer/checkpoint/saver.h"

namespace weft::trainer::checkpoint {
namespace {

using testing_::FaultyDisk;
using testing_::Scratch;
using testing_::SmallRun;
using testing_::snapshot_of;

constexpr std::chrono::seconds kBound{30};

/// Nothing gets created before open() is called.
class ClosedDisk final : public Disk {
 public:
  void open_up() { open_.set_value(); }
  Expected<std::unique_ptr<File>> create(const fs::path& path) override {
    opened_.wait();
    return real().create(path);
  }
  Expected<std::unique_ptr<File>> open(const fs::path& path) override { return real().open(path); }
  Expected<void> make_directories(const fs::path& path) override {
    return real().make_directories(path);
  }
  Expected<void> rename(const fs::path& from, const fs::path& to) override {
    return real().rename(from, to);
  }
  Expected<void> exchange(const fs::path& a, const fs::path& b) override {
    return real().exchange(a, b);
  }
  Expected<void> symlink(const std::string& target, const fs::path& path) override {
    return real().symlink(target, path);
  }
  Expected<void> remove_tree(const fs::path& path) override { return real().remove_tree(path); }
  Expected<void> sync_directory(const fs::path& path) override {
    return real().sync_directory(path);
  }
  Expected<std::vector<std::string>> names_in(const fs::path& path) override {
    return real().names_in(path);
  }

 private:
  std::promise<void> open_;
  std::shared_future<void> opened_{open_.get_future()};
};

class SaverTest : public testing::Test {
 protected:
  std::unique_ptr<Saver> saver(int rank, Disk& disk = Disk::real(), std::string mark = "life-1") {
    return std::make_unique<Saver>(SaverOptions{rank, 2, std::move(mark), std::chrono::minutes(1)},
                                   clock, disk);
  }
  void begin(Saver& saver, int rank, const SmallRun& run) {
    saver.begin(snapshot_of(run, rank, saver.borrow()), scratch.path(), run.info());
  }
  bool is_committed(std::uint64_t step) {
    return fs::exists(scratch.path() / directory_name(step) / kManifestFile);
  }

  const SystemClock clock;
  const Scratch scratch;
};

TEST_F(SaverTest, SavesTheCopyWhateverBecomesOfTheState) {
  const auto first = saver(0), second = saver(1);
  {
    SmallRun run(10);
    begin(*first, 0, run);
    begin(*second, 1, run);
    for (auto& [item, tensors] : run.whole)
      for (auto& [name, values] : tensors) std::ranges::fill(values, -1.0f);
  }
  ASSERT_TRUE(first->wait_idle(kBound));
  const auto saved = first->take_finished();
  ASSERT_TRUE(saved) << saved.error().message;
  ASSERT_EQ(saved->size(), 1u);
  EXPECT_EQ((*saved)[0].name, "step-000000010");
  EXPECT_TRUE((*saved)[0].warnings.empty());
  SmallRun(10).expect_in(scratch / "step-000000010");
  EXPECT_TRUE(first->take_finished()->empty()) << "each save is told once";
}

TEST_F(SaverTest, LeavesNoFileBesideTheCheckpoint) {
  const auto first = saver(0), second = saver(1);
  begin(*first, 0, SmallRun(10));
  begin(*second, 1, SmallRun(10));
  ASSERT_TRUE(first->wait_idle(kBound));
  const auto report = verify(scratch / "step-000000010", Mode::Full);
  ASSERT_TRUE(report && report->ok());
  EXPECT_TRUE(report->strays.empty());
}

TEST_F(SaverTest, TwoSavesAreBegunWhileTheDiskStandsStill) {
  ClosedDisk disk;
  const auto first = saver(0, disk), second = saver(1);
  for (const std::uint64_t step : {10, 20}) {
    begin(*first, 0, SmallRun(step));
    begin(*second, 1, SmallRun(step));
  }
  EXPECT_TRUE(first->take_finished()->empty());
  EXPECT_FALSE(is_committed(10));
  disk.open_up();
  ASSERT_TRUE(first->wait_idle(kBound));
  EXPECT_EQ(first->take_finished()->size(), 2u);
  SmallRun(10).expect_in(scratch / "step-000000010");
  SmallRun(20).expect_in(scratch / "step-000000020");
}

TEST_F(SaverTest, AThirdWaitsForOneOfTheTwoBuffers) {
  ClosedDisk disk;
  const auto first = saver(0, disk), second = saver(1);
  for (const std::uint64_t step : {10, 20}) begin(*first, 0, SmallRun(step));
  std::atomic<bool> lent = false;
  std::thread training([&] {
    begin(*first, 0, SmallRun(30));
    lent = true;
  });
  EXPECT_FALSE(lent);
  disk.open_up();
  training.join();
  for (const std::uint64_t step : {10, 20, 30}) begin(*second, 1, SmallRun(step));
  ASSERT_TRUE(first->wait_idle(kBound));
  EXPECT_EQ(first->take_finished()->size(), 3u);
}

TEST_F(SaverTest, NothingIsCommittedBeforeEveryRankHasWritten) {
  const auto first = saver(0);
  begin(*first, 0, SmallRun(10));
  EXPECT_FALSE(first->wait_idle(std::chrono::milliseconds(30)));
  EXPECT_FALSE(is_committed(10));
  const auto second = saver(1);
  begin(*second, 1, SmallRun(10));
  ASSERT_TRUE(first->wait_idle(kBound));
  EXPECT_TRUE(is_committed(10));
}

TEST_F(SaverTest, AReportOfALifeThatDiedInTheSameDirectoryIsNotTaken) {
  {
    const auto dead = saver(1, Disk::real(), "life-0");
    begin(*dead, 1, SmallRun(10));
    ASSERT_TRUE(dead->wait_idle(kBound));
  }
  const auto first = saver(0);
  begin(*first, 0, SmallRun(10));
  EXPECT_FALSE(first->wait_idle(std::chrono::milliseconds(30)));
  const auto second = saver(1);
  begin(*second, 1, SmallRun(10));
  ASSERT_TRUE(first->wait_idle(kBound));
  EXPECT_TRUE(first->take_finished());
  SmallRun(10).expect_in(scratch / "step-000000010");
}

TEST_F(SaverTest, ARanksFailureIsTheCommittersWithItsReason) {
  FaultyDisk once(8, false, ENOSPC);
  const auto first = saver(0), second = saver(1, once);
  begin(*first, 0, SmallRun(10));
  begin(*second, 1, SmallRun(10));
  ASSERT_TRUE(second->wait_idle(kBound));
  const auto own = second->take_finished();
  ASSERT_FALSE(own);
  EXPECT_EQ(own.error().code, Code::Io);
  ASSERT_TRUE(first->wait_idle(kBound));
  const auto told = first->take_finished();
  ASSERT_FALSE(told);
  EXPECT_NE(told.error().message.find("rank 1"), std::string::npos) << told.error().message;
  EXPECT_NE(told.error().message.find("No space left"), std::string::npos);
  EXPECT_FALSE(is_committed(10));
}

TEST_F(SaverTest, AfterAFailureNothingIsSavedAnyMore) {
  FaultyDisk disk(5, false, EIO);
  const auto first = saver(0, disk);
  begin(*first, 0, SmallRun(10));
  begin(*first, 0, SmallRun(20));
  ASSERT_TRUE(first->wait_idle(kBound));
  EXPECT_FALSE(first->take_finished());
  EXPECT_FALSE(first->take_finished()) << "the failure stays";
  EXPECT_FALSE(is_committed(20));
}

TEST_F(SaverTest, ARankThatNeverReportsIsNamedWithinTheBound) {
  Saver first({0, 2, "life-1", std::chrono::milliseconds(20)}, clock);
  begin(first, 0, SmallRun(10));
  ASSERT_TRUE(first.wait_idle(kBound));
  const auto told = first.take_finished();
  ASSERT_FALSE(told);
  EXPECT_EQ(told.error().code, Code::DeadlineExceeded);
  EXPECT_NE(told.error().message.find("rank 1"), std::string::npos) << told.error().message;
}

TEST_F(SaverTest, AnEndBeforeTheCommitLeavesTheOlderCheckpoint) {
  {
    const auto first = saver(0), second = saver(1);
    begin(*first, 0, SmallRun(10));
    begin(*second, 1, SmallRun(10));
    ASSERT_TRUE(first->wait_idle(kBound));
    begin(*first, 0, SmallRun(20));  // and nobody else: as if the run ended here
  }
  const auto choice = newest_complete(scratch.path(), Mode::Full);
  ASSERT_TRUE(choice && choice->chosen);
  EXPECT_EQ(choice->chosen->step, 10u);
}

TEST(ReportCollector, RefusesWhatIsNoReport) {
  const Scratch scratch;
  const fs::path folder = scratch / kReportsFolder;
  fs::create_directories(folder);
  const auto looks = [&](const std::string& text) {
    EXPECT_TRUE(write_text(Disk::real(), folder / "rank-00000.report", text));
    return ReportCollector(scratch.path(), "m", {0}).look();
  };
  EXPECT_FALSE(looks("written m\n{\"schema\": 1}"));
  EXPECT_FALSE(looks("written m\n" + ShardReport{1, 2, {}, {}}.to_json())) << "another rank's";
  EXPECT_FALSE(looks("failed m\nno space")) << "the rank's own failure";
  EXPECT_EQ(looks("written other\n{}"), false) << "of another save";
  EXPECT_EQ(looks(""), false);
  EXPECT_EQ(looks("written m\n" + ShardReport{0, 1, {}, {}}.to_json()), true);
}

}  // namespace
}  // namespace weft::trainer::checkpoint

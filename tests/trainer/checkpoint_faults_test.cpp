// Fail the N-th file operation, for N = 1, 2, ... until the save succeeds: once (a full disk that
// recovers) and for ever (power loss, where what was not synced may be lost as well).
#include <cerrno>

#include "base/files.h"
#include "tests/trainer/checkpoint_testing.h"

namespace weft::trainer::checkpoint {
namespace {

using testing_::Scratch;
using testing_::SmallRun;

/// The real disk until operation `fail_at`, without waiting for any sync. Power loss (`for_ever`)
/// also undoes what nobody synced: files written lose their second half, renames and new names in
/// unsynced directories go back.
class FaultyDisk final : public Disk {
 public:
  FaultyDisk(int fail_at, bool for_ever, int error_number)
      : fail_at_(fail_at), for_ever_(for_ever), error_number_(error_number) {}

  bool failed() const { return operations_ >= fail_at_; }

  void lose_power() {
    for (auto it = renames_.rbegin(); it != renames_.rend(); ++it) {
      if (!fs::exists(it->to) || fs::exists(it->from)) continue;
      fs::rename(it->to, it->from);
      if (!it->replaced_link.empty()) fs::create_symlink(it->replaced_link, it->to);
    }
    for (const fs::path& file : unsynced_)
      if (fs::is_regular_file(file)) fs::resize_file(file, fs::file_size(file) / 2);
  }

  Expected<std::unique_ptr<File>> create(const fs::path& path) override {
    WEFT_TRY(step("create", path));
    WEFT_TRY_ASSIGN(auto file, real().create(path));
    unsynced_.push_back(path);
    return std::make_unique<FaultyFile>(*this, std::move(file), path);
  }
  Expected<std::unique_ptr<File>> open(const fs::path& path) override {
    WEFT_TRY(step("open", path));
    WEFT_TRY_ASSIGN(auto file, real().open(path));
    return std::make_unique<FaultyFile>(*this, std::move(file), path);
  }
  Expected<void> make_directories(const fs::path& path) override {
    WEFT_TRY(step("create directory", path));
    return real().make_directories(path);
  }
  Expected<void> rename(const fs::path& from, const fs::path& to) override {
    WEFT_TRY(step("rename", to));
    const fs::path replaced = fs::is_symlink(to) ? fs::read_symlink(to) : fs::path();
    WEFT_TRY(real().rename(from, to));
    for (fs::path& file : unsynced_) {
      const auto inside = file.lexically_relative(from);
      if (!inside.empty() && *inside.begin() != "..")
        file = inside == "." ? to : (to / inside).lexically_normal();
    }
    renames_.push_back({from, to, replaced});
    return {};
  }
  Expected<void> exchange(const fs::path& a, const fs::path& b) override {
    WEFT_TRY(step("exchange", a));
    return real().exchange(a, b);
  }
  Expected<void> symlink(const std::string& target, const fs::path& path) override {
    WEFT_TRY(step("link", path));
    return real().symlink(target, path);
  }
  Expected<void> remove_tree(const fs::path& path) override {
    const auto fine = step("remove", path);
    if (fine) return real().remove_tree(path);
    if (fs::is_directory(path)) {  // interrupted: half of the files are gone
      const auto files = testing_::files_below(path);
      for (std::size_t i = 0; i < files.size(); i += 2) fs::remove(files[i]);
    }
    return fine;
  }
  Expected<void> sync_directory(const fs::path& path) override {
    WEFT_TRY(step("sync directory", path));
    std::erase_if(renames_, [&](const Rename& r) { return r.to.parent_path() == path; });
    return {};
  }
  Expected<std::vector<std::string>> names_in(const fs::path& path) override {
    WEFT_TRY(step("list", path));
    return real().names_in(path);
  }

 private:
  class FaultyFile final : public File {
   public:
    FaultyFile(FaultyDisk& disk, std::unique_ptr<File> file, fs::path path)
        : disk_(disk), file_(std::move(file)), path_(std::move(path)) {}
    Expected<std::uint64_t> size() override {
      WEFT_TRY(disk_.step("stat", path_));
      return file_->size();
    }
    Expected<void> read_at(std::uint64_t offset, std::span<std::byte> out) override {
      WEFT_TRY(disk_.step("read", path_));
      return file_->read_at(offset, out);
    }
    Expected<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
      const auto fine = disk_.step("write", path_);
      if (!fine) (void)file_->write_at(offset, bytes.first(bytes.size() / 2));
      return fine ? file_->write_at(offset, bytes) : fine;
    }
    Expected<void> sync() override {
      WEFT_TRY(disk_.step("sync", path_));
      std::erase(disk_.unsynced_, path_);
      return {};
    }

   private:
    FaultyDisk& disk_;
    std::unique_ptr<File> file_;
    fs::path path_;
  };

  struct Rename {
    fs::path from, to, replaced_link;
  };

  Expected<void> step(const char* action, const fs::path& path) {
    ++operations_;
    if (operations_ == fail_at_ || (for_ever_ && operations_ > fail_at_))
      return io_error(action, path, error_number_);
    return {};
  }

  int fail_at_;
  bool for_ever_;
  int error_number_;
  int operations_ = 0;
  std::vector<fs::path> unsynced_;
  std::vector<Rename> renames_;
};

/// A run that saves every 10 steps; after each good save one on a failing disk, at a later
/// operation each time. `again`: a damaged checkpoint of that step is there already, which the save
/// replaces.
void expect_old_ones_survive(bool for_ever, bool again) {
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
    const auto saved = next.save(ckpt, disk, attempt, 2);
    succeeded = !disk.failed();
    if (for_ever && disk.failed()) disk.lose_power();

    const auto choice = newest_complete(ckpt, Mode::Full);
    ASSERT_TRUE(choice && choice->chosen) << "nothing to resume from";
    ASSERT_GE(choice->chosen->step, before.step);
    if (saved) {
      EXPECT_EQ(choice->chosen->step, next.step) << "a promised checkpoint is gone";
    } else {
      EXPECT_NE(saved.error().message.find(ckpt.string()), std::string::npos)
          << "names no path: " << saved.error().message;
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

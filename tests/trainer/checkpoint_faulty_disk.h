// A disk that fails, or loses power, at its N-th operation.
#pragma once

#include <cerrno>
#include <map>
#include <mutex>

#include "base/files.h"
#include "tests/trainer/checkpoint_testing.h"

namespace weft::trainer::checkpoint::testing_ {

/// The real disk until operation `fail_at`, without waiting for any sync. Power loss (`for_ever`)
/// also undoes what nobody synced: files written lose their second half, renames and new names in
/// unsynced directories go back. Threads: any.
class FaultyDisk final : public Disk {
 public:
  FaultyDisk(int fail_at, bool for_ever, int error_number)
      : fail_at_(fail_at), for_ever_(for_ever), error_number_(error_number) {}

  bool failed() const {
    const std::lock_guard lock(mutex_);
    return operations_ >= fail_at_;
  }

  /// How often each file was opened for reading.
  std::map<fs::path, int> opened() const {
    const std::lock_guard lock(mutex_);
    return opened_;
  }

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
    {
      const std::lock_guard lock(mutex_);
      unsynced_.push_back(path);
    }
    return std::make_unique<FaultyFile>(*this, std::move(file), path);
  }
  Expected<std::unique_ptr<File>> open(const fs::path& path) override {
    WEFT_TRY(step("open", path));
    WEFT_TRY_ASSIGN(auto file, real().open(path));
    {
      const std::lock_guard lock(mutex_);
      ++opened_[path];
    }
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
    const std::lock_guard lock(mutex_);
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
      const auto files = files_below(path);
      for (std::size_t i = 0; i < files.size(); i += 2) fs::remove(files[i]);
    }
    return fine;
  }
  Expected<void> sync_directory(const fs::path& path) override {
    WEFT_TRY(step("sync directory", path));
    const std::lock_guard lock(mutex_);
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
      const std::lock_guard lock(disk_.mutex_);
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
    const std::lock_guard lock(mutex_);
    ++operations_;
    if (operations_ == fail_at_ || (for_ever_ && operations_ > fail_at_))
      return io_error(action, path, error_number_);
    return {};
  }

  mutable std::mutex mutex_;  // guards all below
  int fail_at_;
  bool for_ever_;
  int error_number_;
  int operations_ = 0;
  std::vector<fs::path> unsynced_;
  std::map<fs::path, int> opened_;
  std::vector<Rename> renames_;
};

}  // namespace weft::trainer::checkpoint::testing_

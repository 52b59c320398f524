#include "trainer/checkpoint/disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/files.h"

namespace weft::trainer::checkpoint {
namespace {

class RealFile final : public File {
 public:
  RealFile(int fd, fs::path path) : fd_(fd), path_(std::move(path)) {}
  ~RealFile() override { ::close(fd_); }
  RealFile(const RealFile&) = delete;
  RealFile& operator=(const RealFile&) = delete;

  Expected<std::uint64_t> size() override {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) return io_error("stat", path_, errno);
    if (!S_ISREG(status.st_mode))
      return fail(Code::Io, "cannot use " + path_.string() + ": not a regular file");
    return static_cast<std::uint64_t>(status.st_size);
  }

  Expected<void> read_at(std::uint64_t offset, std::span<std::byte> out) override {
    while (!out.empty()) {
      const ssize_t n = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return io_error("read", path_, errno);
      if (n == 0)
        return fail(Code::Corrupt, path_.string() + " ends at byte " + std::to_string(offset) +
                                       ", " + std::to_string(out.size()) + " bytes too early");
      out = out.subspan(static_cast<std::size_t>(n));
      offset += static_cast<std::uint64_t>(n);
    }
    return {};
  }

  Expected<void> write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      go_direct(is_aligned(offset, bytes));
      const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EINVAL && direct_) {  // this disk wants more than alignment
        go_direct(false);
        can_direct_ = false;
        continue;
      }
      if (n < 0) return io_error("write", path_, errno);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
      offset += static_cast<std::uint64_t>(n);
    }
    return {};
  }

  Expected<void> sync() override {
    if (::fdatasync(fd_) != 0) return io_error("sync", path_, errno);
    return {};
  }

 private:
  static bool is_aligned(std::uint64_t offset, std::span<const std::byte> bytes) {
    return bytes.size() >= kDirectBytes &&
           (offset | bytes.size() | reinterpret_cast<std::uintptr_t>(bytes.data())) %
                   kDirectAlignment ==
               0;
  }

  /// Past the page cache, or through it. File systems that cannot say so here or while writing.
  void go_direct(bool direct) {
    if (direct == direct_ || (direct && !can_direct_)) return;
    const int flags = ::fcntl(fd_, F_GETFL);
    if (flags >= 0 && ::fcntl(fd_, F_SETFL, direct ? flags | O_DIRECT : flags & ~O_DIRECT) == 0)
      direct_ = direct;
    else
      can_direct_ = false;
  }

  int fd_;
  fs::path path_;
  bool direct_ = false, can_direct_ = true;
};

class RealDisk final : public Disk {
 public:
  Expected<std::unique_ptr<File>> create(const fs::path& path) override {
    return opened(path, "create", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW);
  }

  Expected<std::unique_ptr<File>> open(const fs::path& path) override {
    // O_NONBLOCK: a named pipe in a file's place must not make us wait for a writer.
    return opened(path, "open", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  }

  Expected<void> make_directories(const fs::path& path) override {
    std::error_code error;
    fs::create_directories(path, error);
    if (error) return io_error("create directory", path, error.value());
    return {};
  }

  Expected<void> rename(const fs::path& from, const fs::path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0)
      return io_error("rename " + from.string() + " to", to, errno);
    return {};
  }

  Expected<void> exchange(const fs::path& a, const fs::path& b) override {
    if (::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0) return {};
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
      return io_error("exchange " + a.string() + " with", b, errno);
    fs::path aside = b;
    aside += ".pruned";
    WEFT_TRY(rename(b, aside));
    WEFT_TRY(rename(a, b));
    return rename(aside, a);
  }

  Expected<void> symlink(const std::string& target, const fs::path& path) override {
    if (::symlink(target.c_str(), path.c_str()) != 0) return io_error("link", path, errno);
    return {};
  }

  Expected<void> remove_tree(const fs::path& path) override {
    std::error_code error;
    fs::remove_all(path, error);
    if (error) return io_error("remove", path, error.value());
    return {};
  }

  Expected<void> sync_directory(const fs::path& path) override {
    return weft::sync_directory(path);
  }

  Expected<std::vector<std::string>> names_in(const fs::path& path) override {
    std::error_code error;
    std::vector<std::string> names;
    for (auto it = fs::directory_iterator(path, error); !error && it != fs::directory_iterator();
         it.increment(error))
      names.push_back(it->path().filename().string());
    if (error) return io_error("list", path, error.value());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  static Expected<std::unique_ptr<File>> opened(const fs::path& path, const char* action,
                                                int flags) {
    const int fd = ::open(path.c_str(), flags, 0644);
    if (fd < 0) return io_error(action, path, errno);
    return std::make_unique<RealFile>(fd, path);
  }
};

}  // namespace

Disk& Disk::real() {
  static RealDisk disk;
  return disk;
}

Expected<std::string> read_text(Disk& disk, const fs::path& path, std::uint64_t max_bytes) {
  WEFT_TRY_ASSIGN(const auto file, disk.open(path));
  WEFT_TRY_ASSIGN(const std::uint64_t size, file->size());
  if (size > max_bytes)
    return fail(Code::Corrupt, path.string() + " has " + std::to_string(size) +
                                   " bytes, more than the " + std::to_string(max_bytes) +
                                   " that such a file may have");
  std::string text(size, '\0');
  WEFT_TRY(file->read_at(0, std::as_writable_bytes(std::span(text))));
  return text;
}

Expected<void> read_pieces(File& file, std::uint64_t bytes,
                           const std::function<void(std::span<const std::byte>)>& take) {
  constexpr std::uint64_t kPiece = std::uint64_t{1} << 20;
  std::vector<std::byte> buffer(std::min(kPiece, bytes));
  for (std::uint64_t at = 0; at < bytes; at += kPiece) {
    const auto piece = std::span(buffer).first(std::min(kPiece, bytes - at));
    WEFT_TRY(file.read_at(at, piece));
    take(piece);
  }
  return {};
}

Expected<void> write_text(Disk& disk, const fs::path& path, const std::string& content) {
  WEFT_TRY_ASSIGN(const auto file, disk.create(path));
  WEFT_TRY(file->write_at(0, std::as_bytes(std::span(content))));
  return file->sync();
}

}  // namespace weft::trainer::checkpoint

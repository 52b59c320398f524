#include "base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace weft {
namespace {

/// Closes on every way out. Not copied: it owns the descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

Expected<void> write_all(int fd, std::string_view content, const std::filesystem::path& path) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("write", path, errno);
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

enum class Sync { Yes, No };

Expected<void> write_new(const std::filesystem::path& path, std::string_view content, unsigned mode,
                         Sync sync) {
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (file.get() < 0) return io_error("create", path, errno);
  WEFT_TRY(write_all(file.get(), content, path));
  if (sync == Sync::Yes && ::fsync(file.get()) != 0) return io_error("sync", path, errno);
  return {};
}

}  // namespace

tl::unexpected<Error> io_error(std::string_view action, const std::filesystem::path& path,
                               int error_number) {
  std::string message =
      "cannot " + std::string(action) + " " + path.string() + ": " + std::strerror(error_number);
  if (error_number == ENOSPC || error_number == EDQUOT)
    message += " (free some space, or put the run elsewhere with --dir)";
  if (error_number == EROFS || error_number == EACCES || error_number == EPERM)
    message += " (choose a directory that you may write, with --dir)";
  return fail(error_number == ENOENT ? Code::NotFound : Code::Io, std::move(message));
}

Expected<std::string> read_file(const std::filesystem::path& path, std::size_t max_bytes) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return io_error("open", path, errno);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return io_error("stat", path, errno);
  if (S_ISDIR(status.st_mode)) return io_error("read", path, EISDIR);
  std::string content;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t n = ::read(file.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("read", path, errno);
    if (n == 0) return content;
    content.append(buffer, static_cast<std::size_t>(n));
    if (content.size() > max_bytes)
      return fail(Code::InvalidArgument, path.string() + " is longer than the " +
                                             std::to_string(max_bytes) + " bytes allowed here");
  }
}

Expected<void> sync_directory(const std::filesystem::path& directory) {
  const Descriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return io_error("open directory", directory, errno);
  if (::fsync(fd.get()) != 0) return io_error("sync directory", directory, errno);
  return {};
}

Expected<void> write_file_atomically(const std::filesystem::path& path, std::string_view content,
                                     unsigned mode) {
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  WEFT_TRY(write_new(temporary, content, mode, Sync::Yes));
  if (::rename(temporary.c_str(), path.c_str()) != 0) return io_error("rename to", path, errno);
  const std::filesystem::path parent = path.parent_path();
  return sync_directory(parent.empty() ? "." : parent);
}

Expected<void> replace_file(const std::filesystem::path& path, std::string_view content,
                            unsigned mode) {
  std::filesystem::path temporary = path;
  temporary += "." + std::to_string(::getpid()) + ".new";
  WEFT_TRY(write_new(temporary, content, mode, Sync::No));
  if (::rename(temporary.c_str(), path.c_str()) != 0) return io_error("rename to", path, errno);
  return {};
}

}  // namespace weft

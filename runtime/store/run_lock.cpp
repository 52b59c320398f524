#include "runtime/store/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "base/files.h"

namespace weft::runtime {
namespace {

/// A reader that looks (is_taken) holds a shared lock for an instant; a writer tries again that
/// often.
constexpr int kAttempts = 10;
constexpr auto kPause = std::chrono::milliseconds(20);

bool try_lock(int fd) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
    if (errno != EWOULDBLOCK && errno != EINTR) return false;
    std::this_thread::sleep_for(kPause);
  }
  errno = EWOULDBLOCK;
  return false;
}

/// The digits that the owner wrote, or "unknown".
std::string owner(int fd) {
  std::array<char, 16> buffer{};
  const ssize_t n = ::pread(fd, buffer.data(), buffer.size() - 1, 0);
  std::string pid;
  for (ssize_t i = 0; i < n && std::isdigit(static_cast<unsigned char>(buffer[i])) != 0; ++i)
    pid += buffer[i];
  return pid.empty() ? "unknown" : pid;
}

}  // namespace

Expected<RunLock> RunLock::take(const std::filesystem::path& path) {
  RunLock lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (lock.fd_ < 0) return io_error("open", path, errno);
  if (!try_lock(lock.fd_)) {
    if (errno != EWOULDBLOCK) return io_error("lock", path, errno);
    return fail(Code::Busy, path.parent_path().string() + " is in use by process " +
                                owner(lock.fd_) +
                                " (wait for it, stop it, or choose another directory with --dir)");
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock.fd_, 0) != 0 ||
      ::pwrite(lock.fd_, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size()))
    return io_error("write", path, errno);
  return lock;
}

RunLock::RunLock(RunLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

RunLock& RunLock::operator=(RunLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

RunLock::~RunLock() {
  if (fd_ >= 0) ::close(fd_);
}

bool RunLock::is_taken(const std::filesystem::path& path) {
  const RunLock look(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return look.fd_ >= 0 && ::flock(look.fd_, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

}  // namespace weft::runtime

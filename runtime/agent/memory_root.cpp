#include "runtime/agent/memory_root.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/files.h"
#include "base/rng.h"

namespace weft::runtime {

namespace fs = std::filesystem;

namespace {

std::string prefix() { return "weft-" + std::to_string(::getuid()) + "-"; }

void remove_quietly(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
}

/// A descriptor that holds the directory, or -1: somebody else does, or it is no more.
int hold(const fs::path& path) {
  const int lock = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (lock < 0) return -1;
  struct stat held {
  }, named{};
  // It may have been removed, and made anew, between open and flock.
  const bool ours = ::flock(lock, LOCK_EX | LOCK_NB) == 0 && ::fstat(lock, &held) == 0 &&
                    ::lstat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
                    held.st_uid == ::getuid();
  if (ours) return lock;
  ::close(lock);
  return -1;
}

/// Waits for the agent's end, by whatever cause: then nobody holds the pipe's other end.
[[noreturn]] void keep(int pipe, const fs::path& path) {
  (void)::chdir("/");
  ::setsid();  // what is sent to the agent's terminal or group is not for us
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(signal, SIG_IGN);
  ::prctl(PR_SET_NAME, "weft-memory");
  for (char byte = 0;;) {
    const ssize_t n = ::read(pipe, &byte, 1);
    if (n == 0 || (n < 0 && errno != EINTR)) break;
  }
  remove_quietly(path);
  ::_exit(0);
}

}  // namespace

fs::path memory_path(const fs::path& run, const std::string& node, const fs::path& base) {
  std::error_code error;
  const fs::path whole = fs::weakly_canonical(run, error);
  char digits[17];
  std::snprintf(
      digits, sizeof digits, "%016llx",
      static_cast<unsigned long long>(fnv1a((error ? run : whole).string() + "\n" + node)));
  return base / (prefix() + digits);
}

void remove_orphans(const fs::path& base) {
  std::error_code error;
  for (auto at = fs::directory_iterator(base, error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    if (!at->path().filename().string().starts_with(prefix())) continue;
    const int lock = hold(at->path());
    if (lock < 0) continue;
    remove_quietly(at->path());
    ::close(lock);
  }
}

Expected<std::unique_ptr<MemoryRoot>> MemoryRoot::make(const fs::path& run, const std::string& node,
                                                       const fs::path& base) {
  struct statfs system {};
  if (::statfs(base.c_str(), &system) != 0) return io_error("look at", base, errno);
  if (system.f_type != TMPFS_MAGIC && system.f_type != RAMFS_MAGIC)
    return fail(Code::Unsupported, base.string() + " does not lie in memory (no tmpfs)");
  remove_orphans(base);
  const fs::path path = memory_path(run, node, base);
  // Somebody who cleans up may take it for an orphan before we hold it.
  for (int tries = 0; tries < 3; ++tries) {
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return io_error("create", path, errno);
    const int lock = hold(path);
    if (lock < 0) continue;
    std::unique_ptr<MemoryRoot> root(new MemoryRoot(path, lock));
    WEFT_TRY(root->start_keeper());
    return root;
  }
  return fail(Code::Busy, path.string() + " is held by another agent of this run and node");
}

Expected<void> MemoryRoot::start_keeper() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return io_error("make a pipe for", path_, errno);
  alive_ = ends[1];
  keeper_ = ::fork();
  if (keeper_ == 0) {
    // Nothing of the agent's stays open here: locks and sockets would seem to be alive.
    const int pipe = ::dup2(ends[0], 0);
    ::close_range(1, ~0U, 0);
    keep(pipe, path_);
  }
  ::close(ends[0]);
  if (keeper_ < 0) return io_error("start the keeper of", path_, errno);
  return {};
}

MemoryRoot::~MemoryRoot() {
  remove_quietly(path_);
  if (alive_ >= 0) ::close(alive_);
  if (keeper_ > 0) ::waitpid(keeper_, nullptr, 0);
  ::close(lock_);
}

}  // namespace weft::runtime

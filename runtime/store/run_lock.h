// The exclusive lock of a run directory: flock on a file that holds the owner's pid.
#pragma once

#include <filesystem>

#include "base/expected.h"

namespace weft::runtime {

/// Held while the object lives; the kernel releases it when the process dies, however it dies (and
/// its forked children have closed `fd`).
class RunLock {
 public:
  /// Errors: Busy naming the owner's pid; Io.
  static Expected<RunLock> take(const std::filesystem::path& path);
  RunLock(RunLock&& other) noexcept;
  RunLock& operator=(RunLock&& other) noexcept;
  ~RunLock();
  int fd() const { return fd_; }

  /// A look without waiting; false when there is no such file.
  static bool is_taken(const std::filesystem::path& path);

 private:
  explicit RunLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace weft::runtime

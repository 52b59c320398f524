// A node's directory for copies of the workers' state, in memory: on the tmpfs at /dev/shm, 0700.
// It is the agent's: workers die and it stays, the agent ends or dies and it is removed.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/expected.h"

namespace weft::runtime {

/// Where the copies of this run on this node lie: the same path each time.
std::filesystem::path memory_path(const std::filesystem::path& run, const std::string& node,
                                  const std::filesystem::path& base = "/dev/shm");

/// Held by a lock on the directory, which ends with its process; a small process of ours waits for
/// that end and removes it even when we are killed. What a killed keeper left, the next agent on
/// the node removes: it looks for directories of ours whose lock nobody holds.
/// Threads: one.
class MemoryRoot {
 public:
  /// Empty. Errors: Unsupported when `base` does not lie in memory; Busy when another agent of this
  /// run and node holds it; Io.
  static Expected<std::unique_ptr<MemoryRoot>> make(const std::filesystem::path& run,
                                                    const std::string& node,
                                                    const std::filesystem::path& base = "/dev/shm");
  ~MemoryRoot();
  MemoryRoot(const MemoryRoot&) = delete;
  MemoryRoot& operator=(const MemoryRoot&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  MemoryRoot(std::filesystem::path path, int lock) : path_(std::move(path)), lock_(lock) {}
  Expected<void> start_keeper();

  std::filesystem::path path_;
  int lock_;        // the directory, flocked
  int alive_ = -1;  // our end of the keeper's pipe
  pid_t keeper_ = -1;
};

/// Removes those of this user's in `base` whose agents are gone.
void remove_orphans(const std::filesystem::path& base);

}  // namespace weft::runtime

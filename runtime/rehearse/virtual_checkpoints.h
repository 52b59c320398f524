// Checkpoints of a rehearsal: real directories, manifests and hashes by the same code as a run's,
// with a few numbers a position in place of the model. What is damaged is found as it would be.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/expected.h"
#include "runtime/coordinator/messages.h"
#include "scheduler/placement.h"

namespace weft::runtime {

class VirtualCheckpoints {
 public:
  VirtualCheckpoints(std::filesystem::path directory, std::string run,
                     const scheduler::Layout& layout, int keep)
      : directory_(std::move(directory)), run_(std::move(run)), layout_(layout), keep_(keep) {}

  /// Its directory's name. Errors: those of a checkpoint's commit.
  Expected<std::string> write(std::int64_t step, std::int64_t generation, std::int64_t tokens,
                              const std::string& wall_time);
  /// Turns one byte of one shard around; the position whose shard it is.
  Expected<int> damage(const std::string& name);
  /// All that have a manifest.
  std::vector<Checkpoint> complete() const;
  struct Verdict {
    int position = -1;  // whose shard is damaged; -1: none
    std::string reason;
  };
  Verdict verify(const std::string& name) const;

 private:
  std::filesystem::path directory_;
  std::string run_;
  scheduler::Layout layout_;
  int keep_;
};

}  // namespace weft::runtime

// Writes a file from front to back, in large blocks past the page cache where the disk can, and
// hashes each byte once for the file and once for its part, while the block before is being
// written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <span>

#include "base/expected.h"
#include "trainer/checkpoint/disk.h"
#include "trainer/checkpoint/hash.h"

namespace weft::trainer::checkpoint {

/// Threads: one calls; the blocks of a file larger than one are written by others.
class SequentialWriter {
 public:
  /// `total`: what will be written in all; small files get a small buffer and no thread. `file`
  /// outlives this.
  SequentialWriter(File& file, std::uint64_t total);
  /// Waits for the block that is being written.
  ~SequentialWriter();
  SequentialWriter(const SequentialWriter&) = delete;
  SequentialWriter& operator=(const SequentialWriter&) = delete;

  /// The next bytes of the file. Returns their own hash. Errors: Io, also of blocks before.
  Expected<Hash128> add(std::span<const std::byte> bytes);
  /// What is left, and sync.
  Expected<void> finish();

  std::uint64_t size() const { return size_; }
  Hash128 hash() const { return hasher_.digest(); }

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  using Block = std::unique_ptr<std::byte[], Free>;
  static Block make_block(std::size_t bytes);
  Expected<void> begin_write();
  Expected<void> wait();

  File& file_;
  std::size_t block_bytes_;
  Block filling_, writing_;
  std::size_t used_ = 0;  // of filling_
  std::uint64_t size_ = 0;
  Hasher hasher_;
  std::future<Expected<void>> under_way_;  // of writing_
};

}  // namespace weft::trainer::checkpoint

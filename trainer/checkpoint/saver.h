// Saves while the steps go on: the state is copied into one of two buffers, a thread of this rank
// writes and hashes the copy, and the committing rank's thread commits once every rank's report is
// there. Nobody waits but for the copy, or when both buffers are still being written.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/expected.h"
#include "trainer/checkpoint/commit.h"
#include "trainer/checkpoint/disk.h"
#include "trainer/checkpoint/shard.h"

namespace weft::trainer::checkpoint {

/// A rank's state as it was: the bytes of its tensors, one behind the other. Keeps its memory from
/// use to use.
class Snapshot {
 public:
  /// Begins anew, with room for `bytes`.
  void clear(std::size_t bytes);
  /// Copies `values` and adds the tensor that they are; `ref.data` is set here. The room that
  /// clear() made must hold it.
  void add(TensorRef ref, std::span<const std::byte> values);

  const std::vector<TensorRef>& tensors() const { return tensors_; }
  std::size_t bytes() const { return used_; }

 private:
  std::unique_ptr<std::byte[]> memory_;
  std::size_t room_ = 0, used_ = 0;
  std::vector<TensorRef> tensors_;
};

/// What the committing rank's thread has for one save.
struct Gathered {
  const fs::path& ckpt_dir;
  const fs::path& partial_dir;
  const ManifestInfo& info;
  const Expected<std::vector<ShardReport>>& reports;  // of the ranks that it waits for, or why not
};

struct SaverOptions {
  int rank = 0;
  int world = 1;
  std::string mark;  // of this incarnation of the ranks, the same on all: [A-Za-z0-9-]+
  /// The committing rank gives a save up when no further report has come for so long.
  std::chrono::milliseconds report_bound{600'000};
  int buffers = 2;  // at least 1; borrow() waits while all are being written
  /// Another way to commit, for ranks that share no directory. On each rank that `waits_for` names
  /// ranks: once those have written (or will not), `commit` makes what it makes of it, on this
  /// saver's thread; `interrupt` ends its waits when the saver ends.
  struct Elsewhere {
    std::vector<int> waits_for;  // empty: this rank commits nothing
    std::function<Expected<Committed>(const Gathered&)> commit;
    std::function<void()> interrupt;
  };
  std::optional<Elsewhere> elsewhere = std::nullopt;
};

struct Saved {
  std::uint64_t step = 0;
  std::string name;           // of the directory; "" on ranks that do not commit
  std::uint64_t bytes = 0;    // of all files; of this rank's where it does not commit
  double write_seconds = 0;   // this rank's shard: written, hashed, synced
  double commit_seconds = 0;  // from then on: the others' reports, manifest, pruning
  std::vector<std::string> pruned;
  std::vector<std::string> warnings;
};

/// Threads: one calls; a thread of its own works. Rank 0 commits, or whom options.elsewhere says.
class Saver {
 public:
  Saver(SaverOptions options, const Clock& clock, Disk& disk = Disk::real());
  /// Abandons what is not committed (it stays a partial directory); waits for the write in progress
  /// alone.
  ~Saver();
  Saver(const Saver&) = delete;
  Saver& operator=(const Saver&) = delete;

  /// One of the buffers; waits while all are being written. Give it to begin().
  std::unique_ptr<Snapshot> borrow();
  /// Hands the copy over and returns. `info` as commit() wants it; ranks other than 0 need only
  /// attempt and step. All ranks begin the same saves in the same order.
  void begin(std::unique_ptr<Snapshot> snapshot, fs::path ckpt_dir, ManifestInfo info);

  /// What has ended since the last call. Errors: the first save that failed, of write_shard, commit
  /// or another rank; nothing is saved any more after it.
  Expected<std::vector<Saved>> take_finished();
  /// Will take_finished() return an error?
  bool has_failed();
  /// True once nothing is under way, false after `bound`.
  bool wait_idle(std::chrono::milliseconds bound);

 private:
  struct Order {
    std::unique_ptr<Snapshot> snapshot;
    fs::path ckpt_dir;
    ManifestInfo info;
    std::string mark;
  };
  void work();
  Expected<Saved> save(Order& order);
  Expected<std::vector<ShardReport>> gather(const fs::path& partial, const std::string& mark);
  std::vector<int> waits_for() const;
  void free_buffer(std::unique_ptr<Snapshot> snapshot);

  const SaverOptions options_;
  const Clock& clock_;
  Disk& disk_;
  std::uint64_t begun_ = 0;

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Snapshot>> free_;
  int lent_ = 0;  // buffers that exist and are not in free_
  std::deque<Order> orders_;
  bool busy_ = false, ends_ = false;
  std::vector<Saved> finished_;
  std::optional<Error> error_;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace weft::trainer::checkpoint

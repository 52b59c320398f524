// One rank's part of a checkpoint: its tensors into files, and the report about them that the rank
// sends to whoever commits.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "trainer/checkpoint/disk.h"
#include "trainer/checkpoint/manifest.h"

namespace weft::trainer::checkpoint {

/// A tensor, or the box of one, that this rank writes. Of replicas exactly one rank writes.
struct TensorRef {
  std::string item;  // "model", "optim", "ref": a folder of its own
  std::string name;
  Shape shape;                 // of the data
  const void* data = nullptr;  // contiguous, row-major; not ours, outlives the call
  Shape offset;                // in the global tensor; empty: the data is the whole tensor
  Shape global_shape;          // empty with offset
  Dtype dtype = Dtype::F32;    // of the data
};

/// What a rank has written. Crosses ranks as JSON text.
struct ShardReport {
  int rank = 0;
  int world = 1;
  std::vector<TensorEntry> tensors;  // one piece each
  std::vector<FileEntry> files;
  friend bool operator==(const ShardReport&, const ShardReport&) = default;

  std::string to_json() const;
  /// Never trusts a peer's bytes. Errors: Corrupt.
  static Expected<ShardReport> from_json(std::string_view text);
};

/// "model/shard-00001-model-00001-of-00001.safetensors" for rank 0 (PyTorch counts from 1).
std::string shard_file(std::string_view item, int rank);

/// Writes one file for each item into `partial_dir` (made when missing) and syncs them. Ranks may
/// do so at the same time. A rank without tensors writes nothing and still reports. Errors:
/// InvalidArgument, naming the tensor; Io, naming the path and what to do. On an error the partial
/// directory is of no use any more.
Expected<ShardReport> write_shard(const fs::path& partial_dir, int rank, int world,
                                  std::span<const TensorRef> tensors, Disk& disk = Disk::real());

}  // namespace weft::trainer::checkpoint

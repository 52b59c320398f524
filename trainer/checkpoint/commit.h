// From shards to a checkpoint that exists: one rank (the coordinator's) does this once all have
// written. The order of the steps is the promise: a crash anywhere leaves what was complete before.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/expected.h"
#include "trainer/checkpoint/catalog.h"
#include "trainer/checkpoint/disk.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/shard.h"

namespace weft::trainer::checkpoint {

/// A tensor that the checkpoint must hold to be complete.
struct ExpectedTensor {
  std::string item;
  std::string name;
  Shape shape;  // global
};

/// What a manifest says beside the tensors.
struct ManifestInfo : Provenance {
  std::string state;                     // the trainer's own JSON text; kept byte for byte
  std::vector<ExpectedTensor> expected;  // all of them
  int keep = 3;                          // newest complete checkpoints that stay, and beside them:
  std::uint64_t keep_every_steps = 0;    // as in PruneRule
  double keep_every_seconds = 0;
};

struct Committed {
  Manifest manifest;
  fs::path directory;
  std::vector<std::string> pruned;    // names removed
  std::vector<std::string> warnings;  // the checkpoint exists, but `latest` or pruning failed
};

/// Removes leftovers of this and of old attempts (which may be what fills the disk) and makes the
/// directory that write_shard and commit are to be given. What is in that directory already stays,
/// so that other ranks may be writing there: a shard of the same name is overwritten, and commit
/// removes what no report names.
/// Errors: Io.
Expected<fs::path> prepare(const fs::path& ckpt_dir, std::uint64_t step, std::uint64_t attempt,
                           Disk& disk = Disk::real());

/// The manifest that the reports of all ranks make together: exactly `info.expected`, each covered
/// once. Pure. Errors: Corrupt or InvalidArgument, naming the tensor, file or rank.
Expected<Manifest> assemble(const ManifestInfo& info, std::span<const ShardReport> reports);

/// Checks that the reports of all ranks together hold exactly `info.expected` (coverage included)
/// and that their files are there at their size; then writes state, checksums and manifest, renames
/// `partial_dir` to its final name (a checkpoint of the same step is replaced), moves `latest`,
/// prunes. Errors: Corrupt or InvalidArgument, naming the tensor, file or rank; Io. After an error
/// there is no new checkpoint and all old ones are as they were; the one exception is a failed sync
/// of `ckpt_dir` after the rename, which leaves the new one there but unpromised.
Expected<Committed> commit(const fs::path& ckpt_dir, const fs::path& partial_dir,
                           const ManifestInfo& info, std::span<const ShardReport> reports,
                           Disk& disk = Disk::real());

/// The part of a checkpoint that one node holds, where nodes share no directory: `partial_dir` with
/// the `held` files of `manifest` (paths), committed as above; of the committed ones in `ckpt_dir`
/// the newest `keep` stay. `state`: the trainer's, as the manifest has it. Returns the directory.
/// Errors: Corrupt for a held file that is not there at its size, or another state; Io.
Expected<fs::path> commit_part(const fs::path& ckpt_dir, const fs::path& partial_dir,
                               const Manifest& manifest, const std::string& state,
                               std::span<const std::string> held, int keep,
                               Disk& disk = Disk::real());

}  // namespace weft::trainer::checkpoint

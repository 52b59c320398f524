// The same checkpoint in other files: cut for another number of ranks, or for the owners of another
// layout. Training does not need it (a run resumes into any layout as it is); readers that take one
// file a rank do, and so does whoever wants fewer or smaller files.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/expected.h"
#include "trainer/checkpoint/commit.h"
#include "trainer/checkpoint/reader.h"

namespace weft::trainer::checkpoint {

/// A box of a tensor and who writes it. Boxes are whole tensors or some of their rows.
struct Share {
  std::size_t tensor = 0;  // index into Manifest::tensors
  Box box;
  int rank = 0;
  friend bool operator==(const Share&, const Share&) = default;
};

/// Nearly equal bytes on each of `ranks` in every item: tensors in order, cut between rows where a
/// rank's part ends, but never into pieces of less than `piece_bytes_min`. By rank, then tensor.
std::vector<Share> share_evenly(const Manifest& manifest, int ranks,
                                std::uint64_t piece_bytes_min = std::uint64_t{1} << 20);

/// Whole tensors, each to that of its candidates that has the least bytes so far (largest first).
/// `candidates` of a tensor: ranks below `ranks`, at least one.
std::vector<Share> share_by_owner(
    const Manifest& manifest, int ranks,
    const std::function<std::vector<int>(const TensorEntry&)>& candidates);

struct ReshardOptions {
  fs::path output;  // a directory of checkpoints: gets step-... as this one is called
  int ranks = 1;
  Layout layout;  // what the new manifest says
  std::string writer;
  std::function<Expected<void>(int rank)>
      progress;  // before each share; its error ends all; or empty
};

/// Writes `shares` of what `reader` reads (hashes are checked on the way), and all else as it is.
/// Holds one rank's part and one whole tensor in memory. Errors: Busy when the step exists there
/// already; those of the reader, write_shard, commit and `progress`. After an error nothing of it
/// is left but the empty `output`.
Expected<Committed> reshard(Reader& reader, std::span<const Share> shares,
                            const ReshardOptions& options, Disk& disk = Disk::real());

}  // namespace weft::trainer::checkpoint

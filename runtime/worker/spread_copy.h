// Before a generation reads a copy of the state from memory: nodes that have files of it bring them
// to those whose ranks need them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "comm/communicator.h"
#include "runtime/worker/copy_nodes.h"
#include "trainer/checkpoint/manifest.h"

namespace weft::runtime {

/// A file, by its place in the manifest, from one node to another.
struct FileMove {
  std::size_t file = 0;
  int from = 0, to = 0;
  friend bool operator==(const FileMove&, const FileMove&) = default;
};

/// What has to be moved so that every node has what it needs. `has`, `needs`: [node][file]. Those
/// that have the same file take turns. Errors: Corrupt, with the file's number, when no node has
/// it. Pure.
Expected<std::vector<FileMove>> plan_spread(const std::vector<std::vector<bool>>& has,
                                            const std::vector<std::vector<bool>>& needs);

/// Collective. Afterwards `copy`, a directory of this node's memory ("": it keeps none), holds the
/// manifest and the files that `needs` (of this rank, by file of the manifest) names for any rank
/// of this node. Only what `generation` wrote counts. What is moved is checked against its hash;
/// what was there is checked when it is read. Errors, on every rank: Corrupt when it is not whole
/// on these nodes, when a file does not arrive as it was written, or when a node cannot keep it;
/// those of `world`.
using FilesNeeded = std::function<std::vector<bool>(const trainer::checkpoint::Manifest&)>;
Expected<void> spread_copy(comm::Communicator& world, const CopyNodes& nodes,
                           const std::filesystem::path& copy, std::uint64_t generation,
                           const FilesNeeded& needs);

}  // namespace weft::runtime

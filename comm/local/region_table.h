// Where the groups of a local world lie: the same place on every rank because all count alike,
// checked against what the first rank to name a group has written down. Internal to comm.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "comm/local/shared_world.h"

namespace weft::comm {

/// Threads: one.
class RegionTable {
 public:
  RegionTable(std::shared_ptr<LocalWorld::Mapping> world, int world_rank)
      : world_(std::move(world)), world_rank_(world_rank) {}

  /// The next group's region. Errors: InvalidArgument (no room; or another rank names another
  /// group, which ends the world), Unavailable (the world was ended).
  Expected<std::uint64_t> place(const GroupSpec& spec);

 private:
  Expected<void> agree(GroupSlot& slot, const GroupSpec& spec, std::uint64_t offset);
  Expected<void> wait_until_filled(const GroupSlot& slot, const std::string& text) const;

  std::shared_ptr<LocalWorld::Mapping> world_;
  int world_rank_;
  int num_groups_ = 0;
  std::uint64_t next_region_ = LocalWorld::Mapping::first_region();
};

}  // namespace weft::comm

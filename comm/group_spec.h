// What transports check of the groups that they are asked to make. Internal to comm.
#pragma once

#include <string>

#include "comm/communicator.h"

namespace weft::comm {

/// "name {0, 1}".
std::string describe(const GroupSpec& spec);
/// Errors: InvalidArgument unless the ranks are different ones of the world, at least one.
Expected<void> validate(const GroupSpec& spec, int world_size);
/// For two ranks whose `index`-th groups (as described) are not the same.
std::string different_groups(int index, const std::string& here, int rank_here,
                             const std::string& there, int rank_there);

}  // namespace weft::comm

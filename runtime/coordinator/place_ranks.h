// Which node runs which rank: pure, deterministic. Ranks whose node is still there stay; the others
// move as whole blocks where a node has room for one, so that the ranks of a pipeline position
// (consecutive numbers) stay together.
#pragma once

#include <string>
#include <vector>

#include "base/expected.h"
#include "runtime/coordinator/messages.h"

namespace weft::runtime {

struct NodeRoom {
  std::string node;
  int slots = 0;
  std::string leaf = {};  // the switch or rack that it hangs on; "": not known
};

struct RankPlacement {
  std::string node;  // "": not placed
  int slot = 0;
  friend bool operator==(const RankPlacement&, const RankPlacement&) = default;
};

/// `nodes`: those that may be used, in the order of preference. `before`: where the ranks were
/// (empty: nowhere). Result: by rank. Cost: O(world + nodes log nodes).
/// Errors: Unavailable, with the number of slots wanted and there.
Expected<std::vector<RankPlacement>> place_ranks(const std::vector<NodeRoom>& nodes,
                                                 const std::vector<RankPlacement>& before,
                                                 int world);

}  // namespace weft::runtime

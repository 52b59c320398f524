// Which copies of the state in nodes' memory are whole, given who is there.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "runtime/coordinator/coordinator.h"

namespace weft::runtime {

struct WholeCopies {
  std::vector<Checkpoint> whole;  // every part is on some node that has ranks, in any order
  /// Of the others the newest, with what is missing of it; "" when there is none.
  Checkpoint newest_broken;
  std::string why_broken;
};

/// Only nodes with ranks of the generation that is being formed count: they bring the parts to each
/// other. Pure.
WholeCopies whole_copies(const std::map<std::string, Node>& nodes);

}  // namespace weft::runtime

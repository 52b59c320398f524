// Which copies of the state in nodes' memory are whole, given who is there.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "runtime/coordinator/coordinator.h"

namespace weft::runtime {

struct WholeCopies {
  std::vector<Checkpoint> whole;  // every part is on some node that has ranks, in any order
  /// The others, with what is missing of each; ascending.
  std::vector<std::pair<Checkpoint, std::string>> broken;
};

/// Only nodes with ranks of the generation that is being formed count: they bring the parts to each
/// other. Pure.
WholeCopies whole_copies(const std::map<std::string, Node>& nodes);

}  // namespace weft::runtime

#include "runtime/coordinator/whole_copies.h"

#include <algorithm>
#include <set>
#include <utility>

namespace weft::runtime {

namespace {

struct Seen {
  int parts = 1;
  bool agreed = true;   // all nodes say so many parts
  std::set<int> there;  // on nodes that have ranks
};

/// Whose shards a part is, by (generation, part): of all copies of a generation the same node's.
/// One that was lost before it could tell of the newest copy has told of one before.
using Owners = std::map<std::pair<std::int64_t, int>, std::string>;

/// "the shards of node n1 (and of 2 more)"
std::string missing_of(const Seen& seen, std::int64_t generation, const Owners& owners) {
  constexpr std::size_t kShown = 3;
  std::vector<std::string> missing;
  for (int part = 0; part < seen.parts; ++part) {
    if (seen.there.contains(part)) continue;
    const auto owner = owners.find({generation, part});
    missing.push_back(owner == owners.end() ? "number " + std::to_string(part) : owner->second);
  }
  std::string text = missing.size() == 1 ? "the shards of node " : "the shards of nodes ";
  for (std::size_t i = 0; i < std::min(missing.size(), kShown); ++i)
    text += (i > 0 ? ", " : "") + missing[i];
  if (missing.size() > kShown) text += " and " + std::to_string(missing.size() - kShown) + " more";
  return text;
}

}  // namespace

WholeCopies whole_copies(const std::map<std::string, Node>& nodes) {
  std::map<Checkpoint, Seen> all;  // by step first
  Owners owners;
  for (const auto& [name, node] : nodes)
    for (const MemoryCopy& copy : node.copies) {
      Seen& seen = all.try_emplace(copy.checkpoint, Seen{copy.parts, true, {}}).first->second;
      seen.agreed = seen.agreed && seen.parts == copy.parts;
      owners.emplace(std::pair(copy.checkpoint.generation, copy.part), name);
      if (node.ranks.empty()) continue;
      seen.there.insert(copy.part);
      if (copy.replica >= 0) seen.there.insert(copy.replica);
    }
  WholeCopies result;
  for (const auto& [checkpoint, seen] : all) {
    if (seen.agreed && static_cast<int>(seen.there.size()) == seen.parts) {
      result.whole.push_back(checkpoint);
      continue;
    }
    result.broken.emplace_back(checkpoint, seen.agreed
                                               ? missing_of(seen, checkpoint.generation, owners) +
                                                     " are on none of the nodes in use"
                                               : "the nodes disagree about its parts");
  }
  return result;
}

}  // namespace weft::runtime

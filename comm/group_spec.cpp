#include "comm/group_spec.h"

#include <algorithm>

namespace weft::comm {

std::string describe(const GroupSpec& spec) {
  std::string text = spec.name + " {";
  for (std::size_t i = 0; i < spec.ranks.size(); ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(spec.ranks[i]);
  return text + "}";
}

Expected<void> validate(const GroupSpec& spec, int world_size) {
  std::vector<int> sorted = spec.ranks;
  std::sort(sorted.begin(), sorted.end());
  const bool distinct = std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
  if (!sorted.empty() && distinct && sorted.front() >= 0 && sorted.back() < world_size) return {};
  return fail(Code::InvalidArgument, "group " + describe(spec) +
                                         " must name different ranks between 0 and " +
                                         std::to_string(world_size - 1));
}

std::string different_groups(int index, const std::string& here, int rank_here,
                             const std::string& there, int rank_there) {
  return "group " + std::to_string(index) + " is " + here + " on rank " +
         std::to_string(rank_here) + " but " + there + " on rank " + std::to_string(rank_there) +
         ": all ranks must name the same groups in the same order";
}

}  // namespace weft::comm

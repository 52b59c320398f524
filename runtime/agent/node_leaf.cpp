#include "runtime/agent/node_leaf.h"

#include <algorithm>
#include <cstdlib>

namespace weft::runtime {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string switches_of(const std::string& address, const std::string& pattern) {
  const std::size_t node = address.rfind('.'), kind = pattern.rfind('.');
  if (node == std::string::npos || kind == std::string::npos || pattern.substr(kind) != ".node" ||
      std::ranges::count(address, '.') != std::ranges::count(pattern, '.'))
    return "";
  return address.substr(0, node);
}

std::string leaf_of_node(const std::string& given) {
  if (!given.empty()) return given;
  if (const std::string leaf = environment("WEFT_LEAF"); !leaf.empty()) return leaf;
  return switches_of(environment("SLURM_TOPOLOGY_ADDR"),
                     environment("SLURM_TOPOLOGY_ADDR_PATTERN"));
}

}  // namespace weft::runtime

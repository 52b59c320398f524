// What to say of a key that no field of ours has, and which of them was meant. Not for others to
// include.
#pragma once

#include <string>

#include "runtime/job/yaml.h"

namespace weft::runtime {

/// "grpo" and "beta" -> "grpo.beta"; a key at the top has no group.
std::string join_path(const std::string& group, const std::string& key);

struct UnknownKey {
  std::string message;
  std::string hint;     // what was probably meant
  std::string explain;  // the path that `weft explain` takes, or ""
};
UnknownKey describe_unknown_key(const std::string& group, const std::string& key);

/// Does the map hold a key, however deep, by which another system names one of our fields?
bool holds_foreign(const YamlNode& map, const std::string& path);

}  // namespace weft::runtime

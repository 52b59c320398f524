#include "runtime/job/unknown_key.h"

#include <algorithm>
#include <vector>

#include "base/text.h"
#include "runtime/job/fields.h"

namespace weft::runtime {
namespace {

std::string described_group(const std::string& group) {
  return group.empty() ? "at the top of the job" : "in '" + group + "'";
}

}  // namespace

std::string join_path(const std::string& group, const std::string& key) {
  return group.empty() ? key : group + "." + key;
}

UnknownKey describe_unknown_key(const std::string& group, const std::string& key) {
  std::vector<std::string> siblings, elsewhere;
  for (const Field& field : fields()) {
    if (group_of(field.path) == group) siblings.emplace_back(leaf_of(field.path));
    if (leaf_of(field.path) == key) elsewhere.push_back("'" + field.path + "'");
  }
  if (group.empty())
    for (const Group& g : groups())
      if (!g.name.empty()) siblings.emplace_back(g.name);
  const std::vector<Foreign> ours = foreign(join_path(group, key));
  std::string hint, explain = group;
  if (const std::string near = closest(key, siblings); !near.empty()) {
    hint = "did you mean '" + near + "'?";
    explain = join_path(group, near);
  } else if (!elsewhere.empty()) {
    hint = "did you mean " + join(elsewhere, " or ") + "?";
    explain = elsewhere.size() == 1 ? elsewhere[0].substr(1, elsewhere[0].size() - 2) : "";
  } else if (!ours.empty()) {
    for (const Foreign& one : ours) elsewhere.push_back("'" + one.field->path + "'");
    hint = "here it is " + join(elsewhere, " or ");
    explain = "";
  } else if (!siblings.empty()) {
    hint = siblings.size() <= 12 ? "known here: " + join(siblings, ", ") : "";
  } else {
    hint = "weft explain lists all groups";
    explain = "";
  }
  if (find_field(explain) == nullptr && !is_group(explain)) explain.clear();
  return {"unknown key '" + key + "' " + described_group(group), hint, explain};
}

bool holds_foreign(const YamlNode& map, const std::string& path) {
  return std::ranges::any_of(map.entries, [&](const YamlEntry& entry) {
    const std::string inner = join_path(path, entry.key);
    return entry.value.kind == YamlNode::Kind::Map ? holds_foreign(entry.value, inner)
                                                   : foreign(inner).size() == 1;
  });
}

}  // namespace weft::runtime

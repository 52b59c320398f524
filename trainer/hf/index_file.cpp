#include "trainer/hf/index_file.h"

#include <nlohmann/json.hpp>

#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/strict_json.h"

namespace weft::trainer::hf {
namespace {

using nlohmann::json;

bool is_weight_file(std::string_view name) {
  return name.ends_with(".safetensors") && name.find('/') == std::string_view::npos &&
         checkpoint::is_plain_path(name);
}

}  // namespace

Expected<IndexFile> parse_index(std::string_view text) {
  WEFT_TRY_ASSIGN(const json root, checkpoint::parse_json(text, {.depth = 8}));
  if (!root.is_object()) return fail(Code::Corrupt, "an index is one JSON object");
  WEFT_TRY_ASSIGN(const json* const map, checkpoint::get_object(root, "weight_map"));
  IndexFile index;
  for (const auto& [tensor, file] : map->items()) {
    if (tensor.empty()) return fail(Code::Corrupt, "weight_map names a tensor without a name");
    if (!file.is_string() || !is_weight_file(file.get_ref<const std::string&>()))
      return fail(Code::Corrupt, "weight_map: tensor '" + tensor +
                                     "' is not in a file of this directory whose name ends in "
                                     ".safetensors");
    index.weight_map.emplace(tensor, file.get<std::string>());
  }
  const auto metadata = root.find("metadata");
  if (metadata == root.end() || !metadata->is_object()) return index;
  const auto size = metadata->find("total_size");
  if (size == metadata->end()) return index;
  // Some writers put it down as 1.0e9: a number all the same.
  if (size->is_number_unsigned()) {
    index.total_size = size->get<std::uint64_t>();
  } else if (!size->is_number_float() ||
             !(size->get<double>() >= 0 && size->get<double>() < 1e18)) {
    return fail(Code::Corrupt, "metadata.total_size is not a number of bytes");
  } else {
    index.total_size = static_cast<std::uint64_t>(size->get<double>());
  }
  return index;
}

std::string format_index(const IndexFile& index) {
  json root;
  root["metadata"]["total_size"] = index.total_size;
  root["weight_map"] = json::object();
  for (const auto& [tensor, file] : index.weight_map) root["weight_map"][tensor] = file;
  return root.dump(2) + "\n";
}

}  // namespace weft::trainer::hf

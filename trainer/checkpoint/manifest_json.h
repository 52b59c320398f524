// The JSON forms that manifest and shard reports share. Details of this folder; not for others.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "trainer/checkpoint/manifest.h"

namespace weft::trainer::checkpoint {

nlohmann::ordered_json tensors_to_json(const std::vector<TensorEntry>& tensors);
nlohmann::ordered_json files_to_json(const std::vector<FileEntry>& files);
/// Errors: Corrupt, naming the tensor or file. Sizes against shapes are checked, coverage is not.
Expected<std::vector<TensorEntry>> tensors_from_json(const nlohmann::json& list);
Expected<std::vector<FileEntry>> files_from_json(const nlohmann::json& list);
/// dump() of a value whose strings may not be UTF-8. Errors: InvalidArgument.
Expected<std::string> dump_json(const nlohmann::ordered_json& value, int indent);
/// A tensor as it may stand in a manifest, coverage aside. Errors: Corrupt.
Expected<void> check_tensor(const TensorEntry& tensor);

}  // namespace weft::trainer::checkpoint

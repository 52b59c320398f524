// The JSON forms that manifest and shard reports share. Details of this folder; not for others.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "trainer/checkpoint/manifest.h"

namespace weft::trainer::checkpoint {

/// One compact object. Errors: InvalidArgument for names that are not UTF-8.
Expected<void> append_json(std::string& out, const TensorEntry& tensor);
Expected<void> append_json(std::string& out, const FileEntry& file);

/// Reads a root whose lists "tensors" and "files" may be long; the rest of it is returned.
/// Errors: Corrupt, naming the tensor or file. Sizes against shapes are checked, coverage is not.
Expected<nlohmann::json> parse_entries(std::string_view text, std::vector<TensorEntry>& tensors,
                                       std::vector<FileEntry>& files);
/// dump() of a value whose strings may not be UTF-8. Errors: InvalidArgument.
Expected<std::string> dump_json(const nlohmann::ordered_json& value, int indent);
/// A tensor as it may stand in a manifest, coverage aside. Errors: Corrupt.
Expected<void> check_tensor(const TensorEntry& tensor);

}  // namespace weft::trainer::checkpoint

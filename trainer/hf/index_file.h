// model.safetensors.index.json: which file holds which tensor.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/expected.h"

namespace weft::trainer::hf {

inline constexpr const char* kIndexFile = "model.safetensors.index.json";
inline constexpr const char* kSingleFile = "model.safetensors";

struct IndexFile {
  std::uint64_t total_size = 0;                                // bytes of all tensors; 0: not said
  std::map<std::string, std::string, std::less<>> weight_map;  // tensor -> file name
  friend bool operator==(const IndexFile&, const IndexFile&) = default;
};

/// Never trusts `text`. File names are plain ones that end in .safetensors: nothing outside the
/// directory can be meant. Errors: Corrupt, naming the key or tensor.
Expected<IndexFile> parse_index(std::string_view text);

std::string format_index(const IndexFile& index);

}  // namespace weft::trainer::hf

// A tokenizer.json as weft writes it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/expected.h"

namespace weft::trainer::tokenizer {

/// The pre_tokenizer of a known family, as in its tokenizer.json. Errors: InvalidArgument, with the
/// known names.
Expected<nlohmann::json> pre_tokenizer_json(std::string_view name);

/// `tokens`: the bytes of ids 0, 1, …; `merges`: pairs of these ids, by rank; `special` come
/// behind.
std::string tokenizer_json(const nlohmann::json& pre_tokenizer, std::span<const std::string> tokens,
                           std::span<const std::pair<int, int>> merges,
                           std::span<const std::string> special);

/// bos and eos: the first two of `special`, as far as there are.
std::string tokenizer_config_json(std::span<const std::string> special);

}  // namespace weft::trainer::tokenizer

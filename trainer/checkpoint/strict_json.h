// JSON from files and peers: nothing is forgiven. Duplicate keys, deep nesting, endless arrays and
// broken UTF-8 are errors, found while reading and before they cost memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"

namespace weft::trainer::checkpoint {

struct JsonLimits {
  std::size_t depth = 16;
  std::size_t array = std::numeric_limits<std::size_t>::max();  // elements of one array
};

/// Errors: Corrupt, with the position or the key.
Expected<nlohmann::json> parse_json(std::string_view text, JsonLimits limits = {});

/// Takes an element of a list that is a member of the root; `list` is that member's key.
using TakeElement =
    std::function<Expected<void>(const std::string& list, const nlohmann::json& element)>;
/// The same for long lists: elements of the root's lists are handed over one by one as they are
/// read, and the lists are empty in the result. Errors: those of `take` too.
Expected<nlohmann::json> parse_json_lists(std::string_view text, const TakeElement& take,
                                          JsonLimits limits = {});

/// `text` as JSON, quotes included. Errors: InvalidArgument when it is not valid UTF-8.
Expected<void> append_json_string(std::string& out, std::string_view text);

/// The member `key` of an object with the wanted type. Errors: Corrupt, naming the key.
Expected<std::string> get_string(const nlohmann::json& object, const char* key);
Expected<std::uint64_t> get_unsigned(const nlohmann::json& object, const char* key);
Expected<std::vector<std::int64_t>> get_shape(const nlohmann::json& object, const char* key);
Expected<const nlohmann::json*> get_array(const nlohmann::json& object, const char* key);
Expected<const nlohmann::json*> get_object(const nlohmann::json& object, const char* key);

/// Text that JSON can carry. Errors: InvalidArgument when `text` is not valid UTF-8 (`what` names
/// it).
Expected<void> check_utf8(std::string_view text, std::string_view what);

}  // namespace weft::trainer::checkpoint

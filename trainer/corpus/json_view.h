// JSON as it stands in memory: validated once, strictly, then looked at without a copy. For lines
// of data, of which only a few members are wanted and which may hold bytes that are not UTF-8.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"

namespace weft::trainer::corpus {

/// A value inside a text that outlives it.
struct JsonView {
  enum class Kind { Null, Bool, Number, String, Array, Object };
  Kind kind = Kind::Null;
  std::string_view raw;  // as written; a string without its quotes
};

struct JsonMember {
  std::string key;
  JsonView value;
};

/// One value and nothing after it but blanks. RFC 8259 to the letter, lone surrogates refused,
/// nesting up to 64; bytes that are not UTF-8 pass inside strings.
/// Errors: Corrupt with the byte position, counted from 1.
Expected<JsonView> parse_json_view(std::string_view text);

/// Parts of a value that parse_json_view accepted; none when it is of another kind.
std::vector<JsonMember> members(const JsonView& object);
std::vector<JsonView> items(const JsonView& array);
/// The text of a string, escapes resolved.
std::string unescaped(const JsonView& string);

}  // namespace weft::trainer::corpus

// The one adapter over yaml-cpp 0.7: text -> ordered values with the position of every key and
// value. It closes that library's holes: duplicate keys, `<<` merges, anchors, tags, unterminated
// quotes, tabs in the indentation and several documents are refused. Scalars stay text; the schema
// types them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/job/diagnostics.h"

namespace weft::runtime {

struct YamlEntry;

struct YamlNode {
  enum class Kind { Null, Scalar, List, Map };
  Kind kind = Kind::Null;
  std::string text;     // Scalar
  bool quoted = false;  // Scalar
  Position at;          // Null written as nothing: the end of its key
  std::vector<YamlNode> items;
  std::vector<YamlEntry> entries;
};

struct YamlEntry {
  std::string key;
  Position key_at;
  YamlNode value;
};

struct YamlDocument {
  YamlNode root;
  std::vector<Diagnostic> errors;  // root is usable as far as it was read even when there are some
};

/// Never throws, whatever the bytes. `file` is the name that errors carry. Texts above 1 MiB, and
/// texts that are not UTF-8, are refused.
YamlDocument parse_yaml(std::string_view text, const std::string& file);

/// `text` as a double-quoted or plain scalar that parse_yaml reads back unchanged.
std::string yaml_scalar(std::string_view text);

}  // namespace weft::runtime

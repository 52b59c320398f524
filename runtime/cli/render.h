// One way to print records: as a table for people, or as JSON, JSON lines, YAML or names for
// programs.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/cli/io.h"
#include "runtime/cli/options.h"

namespace weft::cli {

struct Column {
  std::string header;  // in caps
  std::function<std::string(const nlohmann::json&)> text;
  bool right = false;  // numbers
};

/// A list. JSON: {"schema": "weft.<verb>/v1", "items": […]}; names: the member `name_key` of each.
void print_list(Io& io, Format format, std::string_view verb,
                const std::vector<nlohmann::json>& records, const std::vector<Column>& columns,
                const std::string& name_key);

/// One object. JSON: its members beside "schema". Table: `lines`.
void print_object(Io& io, Format format, std::string_view verb, const nlohmann::json& object,
                  const std::string& name_key,
                  const std::vector<std::pair<std::string, std::string>>& lines);

/// Block style; scalars as JSON writes them, which is YAML too.
std::string yaml_text(const nlohmann::json& value);

/// A member as people read it: text as it is, numbers short, missing as "-".
std::string cell(const nlohmann::json& object, const char* key);

/// "3 m 05 s ago" from an RFC 3339 time; "-" when there is none.
std::string ago(const nlohmann::json& object, const char* key, const Clock& clock);

}  // namespace weft::cli

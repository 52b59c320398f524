// The table of fields as text for people and as JSON Schema for editors.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/expected.h"

namespace weft::runtime {

/// What `weft explain PATH` prints for a field, or for a group: its fields, one a line. "" lists
/// groups. Errors: NotFound with the nearest path.
Expected<std::string> explain(std::string_view path, int width = 100);
/// Every field at or below `path`, each in full.
Expected<std::string> explain_recursive(std::string_view path, int width = 100);

/// deploy/jobs/REFERENCE.md.
std::string reference_markdown();

/// JSON Schema (2020-12) of a job file.
nlohmann::json job_schema();

}  // namespace weft::runtime

// The kept corpus of a fuzz target, tests/fuzz/corpus/<target>.txt: inputs that exploring found and
// that together reach all it reached. One a line, so that a change of it can be read: every byte
// that is no printable ASCII, and the backslash, as \xHH.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"

namespace weft::fuzz {

std::string escaped(std::string_view bytes);
/// Errors: InvalidArgument, with the line's column.
Expected<std::string> unescaped(std::string_view line);

/// The inputs of a file. Errors: of reading; InvalidArgument for a line that `escaped` never wrote.
Expected<std::vector<std::string>> kept_inputs(const std::string& path);

}  // namespace weft::fuzz

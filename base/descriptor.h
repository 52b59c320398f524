// What a process inherits from the one that started it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/expected.h"

namespace weft {

/// Everything that a descriptor gives, a pipe or an inherited file; it is closed on every way out.
/// Errors: Io, with what `what` names; InvalidArgument when there is more than `max_bytes`.
Expected<std::string> read_descriptor(int descriptor, std::string_view what, std::size_t max_bytes);

}  // namespace weft

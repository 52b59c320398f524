// Packing, so that traces are as small as the viewers take them.
#pragma once

#include <string>
#include <string_view>

#include "base/expected.h"

namespace weft::cli {

/// A gzip file that unpacks to `text`; the same bytes for the same text. Errors: Internal.
Expected<std::string> gzip(std::string_view text);

}  // namespace weft::cli

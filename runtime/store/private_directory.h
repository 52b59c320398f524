// A run directory says which job runs, from which checkpoint, and who leads: whoever can write
// there can run code as us. So nobody else may.
#pragma once

#include <filesystem>

#include "base/expected.h"

namespace weft::runtime {

/// Errors: InvalidArgument unless it belongs to us (or root) and neither its group nor others may
/// write there; says how to mend it. Io.
Expected<void> check_private_directory(const std::filesystem::path& path);

/// Makes it, and those above it, whatever the umask; one that is there is checked. Errors: those of
/// check_private_directory; Io.
Expected<void> make_private_directory(const std::filesystem::path& path);

}  // namespace weft::runtime

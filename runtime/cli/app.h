// The command line as a tree (CLI11) and the way from arguments to a verb. CLI11 is seen by
// app.cpp, tree.cpp, help.cpp and completion.cpp only.
#pragma once

#include <string>
#include <vector>

#include "runtime/cli/io.h"

namespace weft::cli {

/// `args` without the program's name. Usage errors end with 2 and a suggestion. Never throws.
int run_cli(const std::vector<std::string>& args, Io& io);

}  // namespace weft::cli

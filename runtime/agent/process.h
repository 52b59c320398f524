// One child process.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/expected.h"

namespace weft::runtime {

struct SpawnOptions {
  std::vector<std::string> arguments;                            // the program first
  std::vector<std::pair<std::string, std::string>> environment;  // added to this process's own
  std::filesystem::path log;                 // standard output and error, appended
  std::vector<std::pair<int, int>> inherit;  // descriptors handed down: from here, as there
};

/// Starts it with an empty signal mask and no standard input. Errors: Io.
Expected<pid_t> spawn(const SpawnOptions& options);

/// An anonymous file that holds `content`, read position at its start; close-on-exec.
Expected<int> anonymous_file(const std::string& content);

}  // namespace weft::runtime

// The command line in the process of the test.
#pragma once

#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "runtime/cli/app.h"

namespace weft::cli {

struct Result {
  int code;
  std::string out, err;
};

inline Result run(const std::vector<std::string>& args,
                  std::vector<std::pair<std::string, std::string>> environment = {},
                  const std::string& standard_input = "") {
  std::istringstream in(standard_input);
  std::ostringstream out, err;
  const SystemClock clock;
  Io io{.in = in, .out = out, .err = err, .clock = clock, .environment = std::move(environment)};
  const int code = run_cli(args, io);
  return {code, out.str(), err.str()};
}
inline Result run_reading(const std::string& standard_input, const std::vector<std::string>& args) {
  return run(args, {}, standard_input);
}

}  // namespace weft::cli

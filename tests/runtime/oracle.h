// Other people's programs that tests compare with: small scripts in tests/oracles, run by node with
// packages that deploy/test.sh installs. A test skips itself, with the reason, where they are not.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace weft::oracle {

/// Where the packages are: WEFT_ORACLES, or the build folder that they are installed into.
inline std::filesystem::path modules() {
  const char* const given = std::getenv("WEFT_ORACLES");
  return given != nullptr ? given : WEFT_ORACLE_MODULES;
}

/// "" when node and the package are there, else why a test has to be skipped.
inline std::string missing(const std::string& package) {
  if (std::system("node --version >/dev/null 2>&1") != 0)
    return "node is not installed: apt-get install nodejs npm, then deploy/oracles.sh";
  if (!std::filesystem::exists(modules() / package))
    return package + " is not installed in " + modules().string() + ": run deploy/oracles.sh";
  return "";
}

struct Answer {
  int code = -1;
  std::string text;  // stdout and stderr together
};

/// Runs tests/oracles/<script> with the packages' folder as its first argument. Arguments are paths
/// and numbers of the test itself: nothing that a shell would take amiss.
inline Answer run(const std::string& script, const std::vector<std::string>& arguments) {
  std::string command =
      "node '" WEFT_SOURCE_DIR "/tests/oracles/" + script + "' '" + modules().string() + "'";
  for (const std::string& argument : arguments) command += " '" + argument + "'";
  command = "timeout 100 " + command + " 2>&1";
  Answer answer;
  FILE* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return answer;
  std::array<char, 4096> buffer;
  for (std::size_t n; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    answer.text.append(buffer.data(), n);
  const int status = ::pclose(pipe);
  answer.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  return answer;
}

}  // namespace weft::oracle

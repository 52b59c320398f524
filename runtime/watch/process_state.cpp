#include "runtime/watch/process_state.h"

#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace weft::runtime {

using Process = dualpipe::Standing::Process;

// Source: proc(5), /proc/[pid]/stat; the name in parentheses may hold anything.
Process process_state(pid_t pid, std::int64_t known_ns) {
  if (pid <= 0) return Process::Unknown;
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(file, line)) return Process::Gone;
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return Process::Unknown;
  std::istringstream rest(line.substr(name_end + 1));
  std::string state, word;
  rest >> state;
  constexpr int kStartTime = 22, kState = 3;
  for (int field = kState + 1; field <= kStartTime; ++field) rest >> word;
  const double started = std::strtod(word.c_str(), nullptr) / double(::sysconf(_SC_CLK_TCK));
  constexpr double kSlack = 1;  // a tick, and what the two clocks were set apart by
  if (rest && started > double(known_ns) * 1e-9 + kSlack) return Process::Gone;
  if (state == "T" || state == "t") return Process::Stopped;
  if (state == "Z" || state == "X") return Process::Gone;
  return Process::Runs;
}

}  // namespace weft::runtime

// The coordinator's process as its agent sees it: started with what it needs in an inherited
// descriptor, heard through a pipe, and known by how it ended.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/expected.h"
#include "runtime/control/channel.h"
#include "runtime/coordinator/agent.h"

namespace weft::runtime {

/// What a coordinator process is told when it starts. It holds keys: only ever in memory.
struct CoordinatorSetup {
  std::filesystem::path run;
  std::int64_t term = 0;
  std::string node;
  std::uint64_t incarnation = 0;  // of the agent
  std::string host = "127.0.0.1";
  int port = 0;
  bool begins = false;  // the run was submitted just now: an end of before does not count
  RunKeys keys;
};
std::string to_text(const CoordinatorSetup& setup);
Expected<CoordinatorSetup> parse_setup(const std::string& text);

/// Exit codes of the process, by CoordinatorExited::How.
inline constexpr int kCoordinatorEnded = 0, kCoordinatorSteppedDown = 10,
                     kCoordinatorAbdicated = 11, kCoordinatorRefused = 12;

/// Threads: the main one.
class CoordinatorChild {
 public:
  /// Errors: those of processes.
  static Expected<std::unique_ptr<CoordinatorChild>> start(const CoordinatorSetup& setup,
                                                           const std::filesystem::path& log);
  /// Kills it when it is still there.
  ~CoordinatorChild();

  std::int64_t term() const { return term_; }
  pid_t process() const { return pid_; }
  /// Readable when it said something.
  int descriptor() const { return pipe_; }
  /// What it said since the last call: objects with "type" listening, notice {kind, message},
  /// failed {code, message}, ended {outcome, code, reason, culprit}.
  std::vector<nlohmann::json> hear();
  /// How it ended, once.
  std::optional<CoordinatorExited> ended();
  void kill();

 private:
  CoordinatorChild(std::int64_t term, pid_t pid, int pipe) : term_(term), pid_(pid), pipe_(pipe) {}
  std::int64_t term_;
  pid_t pid_;
  int pipe_;
  std::string text_;  // read, not a whole line yet
};

}  // namespace weft::runtime

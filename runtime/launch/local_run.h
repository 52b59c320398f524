// `weft run` on one machine: the coordinator's thin shell. Starts one worker process a rank,
// carries out what decide() says, writes the run directory, and ends with every worker gone.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "runtime/coordinator/one_host.h"
#include "runtime/job/job.h"
#include "runtime/store/run_store.h"

namespace weft::runtime {

/// Tells a person what happens; all optional.
struct RunObserver {
  std::function<void(const nlohmann::json& record)> step;
  std::function<void(const std::string& kind, const std::string& message)> event;
};

struct LocalRunResult {
  Outcome outcome = Outcome::Failed;
  Error error{Code::Internal, ""};  // when Failed
  std::string reason;
  int culprit = -1;  // the rank that failed first, or -1
};

/// Threads: the main one (it owns signal handling while it runs). The store stays locked by the
/// caller. Errors of the run itself are in the result; it never leaves a process behind.
LocalRunResult run_locally(const Job& job, RunStore& store, const RunObserver& observer,
                           const Clock& clock);

/// The last `count` lines of a worker's log.
std::string last_log_lines(const std::filesystem::path& log, int count);

}  // namespace weft::runtime

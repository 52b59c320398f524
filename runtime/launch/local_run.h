// `weft run` on one machine: this process is the agent of the only node and the parent of the
// coordinator and of every worker. It ends with all of them gone.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "runtime/agent/agent_shell.h"

namespace weft::runtime {

/// Threads: the main one (it owns signal handling while it runs). The store's lock is held until
/// the end. Errors of the run itself are in the result, which the run directory states as well.
RunResult run_locally(const Job& job, std::unique_ptr<RunStore> store, const RunObserver& observer,
                      const Clock& clock);

/// Leaves the run directory to `weft agent` on several nodes: keys for them, a journal to go on
/// from, and no lock. Errors: those of begin_run and of the keys.
Expected<void> prepare_for_agents(const Job& job, std::unique_ptr<RunStore> store,
                                  const Clock& clock);

/// A name for this node that can be part of a file's name.
std::string node_name();

/// The last `count` lines of a worker's log.
std::string last_log_lines(const std::filesystem::path& log, int count);

}  // namespace weft::runtime

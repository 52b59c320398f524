#include "runtime/agent/agent_shell.h"

#include "runtime/agent/agent_loop.h"

namespace weft::runtime {

RunResult run_agent(const Job& job, const AgentSetup& setup, const RunObserver& observer,
                    const Clock& clock) {
  return AgentLoop(job, setup, observer, clock).run();
}

}  // namespace weft::runtime

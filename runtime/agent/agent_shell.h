// The agent of one node: carries out what agent_decide() says. It starts and watches the node's
// workers, keeps what they say, takes part in the election, and is the parent of the coordinator
// when it leads. `weft run` is the agent of the only node; `weft agent` one of several.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/clock.h"
#include "runtime/agent/coordinator_child.h"
#include "runtime/coordinator/agent.h"
#include "runtime/job/job.h"
#include "runtime/store/run_store.h"

namespace weft::runtime {

/// Tells a person at this agent's terminal what happens; all optional.
struct RunObserver {
  std::function<void(const nlohmann::json& record)> step;
  std::function<void(const std::string& kind, const std::string& message)> event;
};

struct AgentSetup {
  RunPaths paths;
  std::string node;
  NodeFacts facts;
  RunKeys keys;
  std::string listen = "127.0.0.1";  // what our coordinator and, for other nodes, our workers use
  int port = 0;                      // the coordinator's; 0: any
  bool alone = true;                 // the only node: nobody else could lead
  std::string metrics = {};          // where this node's are served, HOST:PORT; "": nowhere
};

struct RunResult {
  Outcome outcome = Outcome::Failed;
  Error error{Code::Internal, ""};  // when Failed
  std::string reason;
  int culprit = -1;  // the rank that failed first, or -1
};

/// Until the run has ended, or this node's part in it. Threads: the main one (it owns signal
/// handling while it runs). Errors of the run itself are in the result; it never leaves a process
/// behind.
RunResult run_agent(const Job& job, const AgentSetup& setup, const RunObserver& observer,
                    const Clock& clock);

}  // namespace weft::runtime

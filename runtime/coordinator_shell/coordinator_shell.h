// The coordinator's process: carries out what decide() says. It talks to the agents, writes the run
// directory, and journals what it knows before it acts, so that after its death at any instruction
// another one goes on. Nothing on a step's way waits for it.
#pragma once

#include "base/clock.h"
#include "runtime/agent/coordinator_child.h"

namespace weft::runtime {

struct CoordinatorArguments {
  int setup_descriptor = -1;   // a CoordinatorSetup, inherited
  int status_descriptor = -1;  // a pipe to the agent, inherited
  int parent = -1;             // the agent's process id: the coordinator dies with it
};

/// Until the run has ended or another one leads. Returns the process's exit code
/// (coordinator_child.h); what went wrong has been said through the pipe and to standard error.
int coordinator_main(const CoordinatorArguments& arguments, const Clock& clock);

}  // namespace weft::runtime

// The worker process: says hello to the coordinator, is given its job, walks the recipe, reports.
#pragma once

#include <string>

#include "base/expected.h"

namespace weft::runtime {

struct WorkerArguments {
  int world_descriptor = -1;    // comm::LocalWorld's memory, inherited: of the node
  int control_descriptor = -1;  // the control plane's credentials, inherited
  int parent = -1;              // the agent's process id: the worker dies with it
  std::string listen;           // where ranks of other nodes reach this one; "": all are here
};

/// Runs to the end of the recipe. Returns the process's exit code; what went wrong has been
/// reported to the coordinator and to standard error (the worker's log).
int worker_main(const WorkerArguments& arguments);

}  // namespace weft::runtime

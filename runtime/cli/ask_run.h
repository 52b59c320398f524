// Asking whoever leads a run for something, and waiting for the answer.
#pragma once

#include <string>

#include "runtime/cli/io.h"
#include "runtime/store/requests.h"

namespace weft::cli {

/// Leaves the request with the run (find_run's words) and waits until it is taken; what the
/// coordinator says to it goes to stdout. Returns the exit code: kUnavailable when nobody works on
/// the run, kTimeout when nobody took the request (it is withdrawn then).
int ask_run(const std::string& run, const runtime::RunRequest& request, Io& io);

}  // namespace weft::cli

#include "runtime/cli/hooks.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {

int verb_run(const RunOptions& options, Io& io) { return run_job(options, io); }

}  // namespace weft::cli

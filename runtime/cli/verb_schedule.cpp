#include "runtime/cli/hooks.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {

int verb_schedule(const ScheduleOptions& options, Io& io) { return schedule(options, io); }

}  // namespace weft::cli

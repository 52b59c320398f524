#include "runtime/cli/hooks.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {

int verb_resume(const ResumeOptions& options, Io& io) { return resume_run(options, io); }

}  // namespace weft::cli

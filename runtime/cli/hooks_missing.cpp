// Temporary: this build has no worker, model or schedule behind the command line yet. Replace this
// file.
#include <ostream>

#include "runtime/cli/hooks.h"

namespace weft::cli {
namespace {

int missing(const char* what, Io& io) {
  return report({Code::Unavailable, std::string(what) + " is not part of this build yet"}, io);
}

}  // namespace

int run_job(const RunOptions&, Io& io) { return missing("run", io); }
int resume_run(const ResumeOptions&, Io& io) { return missing("resume", io); }
int generate(const GenerateOptions&, Io& io) { return missing("generate", io); }
int checkpoint_ls(const CheckpointOptions&, Io& io) { return missing("ckpt ls", io); }
int checkpoint_show(const CheckpointOptions&, Io& io) { return missing("ckpt show", io); }
int checkpoint_verify(const CheckpointOptions&, Io& io) { return missing("ckpt verify", io); }
int schedule(const ScheduleOptions&, Io& io) { return missing("schedule", io); }

}  // namespace weft::cli

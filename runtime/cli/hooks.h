// What `weft` does with a running cluster, a model or a schedule, as this folder sees it: options
// in, exit code out. Implemented outside of the command line.
#pragma once

#include "runtime/cli/io.h"
#include "runtime/cli/options.h"

namespace weft::cli {

int run_job(const RunOptions& options, Io& io);
int resume_run(const ResumeOptions& options, Io& io);
int generate(const GenerateOptions& options, Io& io);
int checkpoint_ls(const CheckpointOptions& options, Io& io);
int checkpoint_show(const CheckpointOptions& options, Io& io);
/// 0 whole, 1 damaged, 65 unreadable or none.
int checkpoint_verify(const CheckpointOptions& options, Io& io);
int schedule(const ScheduleOptions& options, Io& io);

}  // namespace weft::cli

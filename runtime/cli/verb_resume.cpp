#include <ostream>

#include "base/files.h"
#include "runtime/cli/run_directory.h"
#include "runtime/cli/verbs.h"
#include "runtime/store/run_store.h"

namespace weft::cli {

using namespace runtime;

int verb_resume(const ResumeOptions& options, Io& io) {
  const auto run = find_run(options.run);
  if (!run) return report(run.error(), io);
  if (is_rehearsal(*run))
    return report({Code::InvalidArgument,
                   run->string() + " is a rehearsal: nothing in it was learned, so there is "
                                   "nothing to go on from; start the job with weft run"},
                  io);
  const RunPaths paths{*run};
  const auto text = read_file(paths.job(), 1 << 22);
  if (!text) return report(text.error(), io);
  // What the run was started with beyond its job file is part of it: the resolved values count.
  const Loaded loaded = load_job(paths.resolved(), {.overrides = {io.environment, options.set}});
  io.err << print(loaded.diagnostics, {.color = io.color_err});
  if (!loaded.ok()) return kConfiguration;
  return run_in_directory(loaded, *text, *run, options.quiet, io);
}

}  // namespace weft::cli

#include <ostream>

#include "base/files.h"
#include "runtime/cli/run_directory.h"
#include "runtime/cli/verbs.h"

namespace weft::cli {

using namespace runtime;

int verb_run(const RunOptions& options, Io& io) {
  const Loaded loaded = load_job(options.job, {.overrides = {io.environment, options.set}});
  io.err << print(loaded.diagnostics, {.color = io.color_err});
  if (!loaded.ok()) return kConfiguration;
  const auto text = read_file(options.job, 1 << 22);
  if (!text) return report(text.error(), io);
  const std::filesystem::path directory = options.dir.empty()
                                              ? std::filesystem::path("runs") / loaded.job.name
                                              : std::filesystem::path(options.dir);
  return run_in_directory(loaded, *text, directory, options.quiet, io, options.prepare);
}

}  // namespace weft::cli

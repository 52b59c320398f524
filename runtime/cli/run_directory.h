// From a job to a finished run directory: what `weft run` and `weft resume` share.
#pragma once

#include <filesystem>
#include <string>

#include "runtime/cli/io.h"
#include "runtime/job/load.h"

namespace weft::cli {

/// Runs the job in `directory`, or goes on where that directory's newest checkpoint stands.
/// `prepare_only`: leaves it to agents. `job_text`: what is kept there as job.yaml. Returns the
/// exit code; everything has been said.
int run_in_directory(const runtime::Loaded& loaded, const std::string& job_text,
                     const std::filesystem::path& directory, bool quiet, Io& io,
                     bool prepare_only = false);

/// Of `weft rehearse`: nothing in it was learned or measured.
bool is_rehearsal(const std::filesystem::path& root);

/// Makes the indexes of a job's files before its workers start, showing progress. Errors: those of
/// the data.
Expected<void> prepare_data(const runtime::Job& job, const std::filesystem::path& run, bool quiet,
                            Io& io);

}  // namespace weft::cli

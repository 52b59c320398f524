// Rules between fields. Each problem names every field involved, so that it can be shown at the
// line that the user wrote.
#pragma once

#include <string>
#include <vector>

#include "runtime/job/diagnostics.h"
#include "runtime/job/job.h"

namespace weft::runtime {

struct Problem {
  Severity severity = Severity::Error;
  std::vector<std::string> fields;  // paths; the first one is explained
  std::string message;
  std::string hint;
};

/// All of them, in reading order; empty when the job can be run. Pure: looks at no file.
std::vector<Problem> problems(const Job& job);

/// Does it fit onto one machine, where it is to run on one? Not asked of a job that is only
/// planned.
std::vector<Problem> host_problems(const Job& job);

/// What only the file system can say: data.path exists, is a readable file and not empty.
std::vector<Problem> file_problems(const Job& job);

}  // namespace weft::runtime

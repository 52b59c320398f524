// job.yaml + environment + --set -> Job, with the origin of every value and everything that is
// wrong, at once. Precedence: default < model.config < file < WEFT__GROUP__FIELD < --set.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/expected.h"
#include "runtime/job/diagnostics.h"
#include "runtime/job/job.h"

namespace weft::runtime {

struct Overrides {
  /// Name and value of every variable that starts with WEFT__. The caller reads the environment.
  std::vector<std::pair<std::string, std::string>> environment;
  /// "grpo.beta=0.001"; later ones win.
  std::vector<std::string> set;
};

/// Where a value came from.
struct Origin {
  enum class Kind { Default, Model, File, Environment, Set };
  Kind kind = Kind::Default;
  std::string file;    // the job file, Model: the config.json, the variable's name, or "--set"
  Position at;         // of the value
  std::string source;  // the line that `at` points into
};
/// "default", "job.yaml:14", "env WEFT__GRPO__BETA", "--set".
std::string to_string(const Origin& origin);

struct Loaded {
  Job job;                                             // usable only when ok()
  std::map<std::string, Origin, std::less<>> origins;  // one a field
  std::vector<Diagnostic> diagnostics;
  bool ok() const { return !has_errors(diagnostics); }
};

struct LoadOptions {
  Overrides overrides;
  bool check_files = true;  // does data.path exist?
  bool here = true;         // false: only planned, not run on this machine
};

/// Never fails: what is wrong is in the diagnostics. `file` is the name that they carry.
Loaded load_job_text(std::string_view text, const std::string& file,
                     const LoadOptions& options = {});
/// As load_job_text; a file that cannot be read is a diagnostic too.
Loaded load_job(const std::filesystem::path& path, const LoadOptions& options = {});

}  // namespace weft::runtime

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "runtime/cli/run_directory.h"
#include "runtime/cli/verbs.h"
#include "runtime/store/run_store.h"

namespace weft::cli {

Expected<std::filesystem::path> find_run(const std::string& text) {
  namespace fs = std::filesystem;
  const auto is_run = [](const fs::path& path) {
    std::error_code error;
    return fs::exists(runtime::RunPaths{path}.run(), error);
  };
  if (!text.empty() && is_run(text)) return fs::path(text);
  if (!text.empty() && is_run(fs::path("runs") / text)) return fs::path("runs") / text;
  const auto runs = runtime::list_runs("runs");
  if (text.empty()) {
    if (!runs || runs->empty())
      return fail(Code::NotFound,
                  "there is no run below runs/; name a run directory, or start one: "
                  "weft run deploy/jobs/r1-zero-arithmetic.yaml");
    return fs::path(runs->front().value("directory", std::string()));
  }
  std::vector<std::string> names;
  for (const auto& run : runs.value_or(std::vector<nlohmann::json>{}))
    names.push_back(fs::path(run.value("directory", std::string())).filename().string());
  const std::string near = closest(text, names);
  return fail(Code::NotFound,
              "no run '" + text + "': neither a run directory nor a name below runs/" +
                  (near.empty() ? " (weft ls shows them)" : "; did you mean '" + near + "'?"));
}

bool is_rehearsal(const std::filesystem::path& root) {
  const auto state = runtime::read_state(root);
  return state && state->value("synthetic", false);
}

}  // namespace weft::cli

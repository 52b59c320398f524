// The reading end of run.json: what state runs are in, told by who holds or leads them.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "runtime/store/lease.h"
#include "runtime/store/run_lock.h"
#include "runtime/store/run_store.h"

namespace weft::runtime {

using nlohmann::json;
namespace fs = std::filesystem;

const char* to_string(RunState state) {
  switch (state) {
    case RunState::Running:
      return "running";
    case RunState::Finished:
      return "finished";
    case RunState::Failed:
      return "failed";
    case RunState::Stopped:
      return "stopped";
  }
  return "?";
}

bool is_locked(const RunPaths& paths) { return RunLock::is_taken(paths.lock()); }

namespace {

/// run.json as it stands, and whether the lock is held.
Expected<json> look_at_state(const RunPaths& paths) {
  const fs::path& root = paths.root;
  const auto text = read_file(paths.run(), std::size_t{1} << 24);
  if (!text && text.error().code == Code::NotFound)
    return fail(Code::NotFound, root.string() + " is no run directory: it has no run.json");
  if (!text) return tl::unexpected<Error>(text.error());
  json state = json::parse(*text, nullptr, false);
  if (!state.is_object() || !state.contains("state") || !state["state"].is_string())
    return fail(Code::Corrupt, paths.run().string() + " is damaged; metrics.jsonl is not");
  state["alive"] = is_locked(paths);
  state["directory"] = root.string();
  return state;
}

/// Of these, those that say running and that nobody holds: led by agents, or dead.
void look_for_leaders(std::vector<json>& states) {
  std::vector<RunPaths> runs;
  std::vector<std::size_t> which;
  for (std::size_t i = 0; i < states.size(); ++i)
    if (states[i]["state"] == "running" && states[i]["alive"] == false) {
      runs.push_back({states[i]["directory"].get<std::string>()});
      which.push_back(i);
    }
  const std::vector<bool> led = are_led(runs);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    json& state = states[which[i]];
    state["alive"] = static_cast<bool>(led[i]);
    if (led[i]) continue;
    state["state"] = "dead";
    state["reason"] =
        "run.json says running, but no process holds the run directory and no agent leads";
  }
}

}  // namespace

Expected<json> read_state(const fs::path& root) {
  WEFT_TRY_ASSIGN(json state, look_at_state({root}));
  std::vector<json> one = {std::move(state)};
  look_for_leaders(one);
  return std::move(one.front());
}

Expected<std::vector<json>> list_runs(const fs::path& parent) {
  std::error_code error;
  fs::directory_iterator entries(parent, error);
  if (error) return io_error("list", parent, error.value());
  std::vector<json> runs;
  for (const fs::directory_entry& entry : entries) {
    if (!fs::exists(RunPaths{entry.path()}.run(), error)) continue;
    auto state = look_at_state({entry.path()});
    if (state)
      runs.push_back(std::move(*state));
    else
      runs.push_back({{"name", entry.path().filename().string()},
                      {"directory", entry.path().string()},
                      {"state", "unreadable"},
                      {"reason", state.error().message}});
  }
  look_for_leaders(runs);
  std::sort(runs.begin(), runs.end(), [](const json& a, const json& b) {
    const json none = "";
    return std::pair(b.value("updated", none), a.value("name", none)) <
           std::pair(a.value("updated", none), b.value("name", none));
  });
  return runs;
}

}  // namespace weft::runtime
